"""What each code of the proxy, of gRPC and of the brokers means for the caller; what is not listed is Uncertain.

Codes: `Code` in apache.rocketmq.v2 (definition.proto), grpc.StatusCode, and ResponseCode in RocketMQ's source.
"""

from __future__ import annotations

from grpc import StatusCode
from grpc.aio import AioRpcError

from evermq.adapters.rocketmq.protocol import CODE_NAMES
from evermq.errors import (
    Denied,
    EvermqError,
    Fenced,
    Misconfigured,
    NoSuchTopic,
    Overloaded,
    Rejected,
    TooLarge,
    Unavailable,
    Uncertain,
    Unsupported,
)

__all__ = ["BROKER_CODES", "CODES", "STATUSES", "certain", "of_broker", "of_code", "of_rpc"]

# What the proxy answers. FORBIDDEN is a topic that has no readable or writable queue at the moment; rights are
# UNAUTHORIZED. A message that is stored by the master and not yet by whom it has to be (…_TIMEOUT, HA_NOT_AVAILABLE)
# may be lost with it.
_NAMES: dict[type[EvermqError], str] = {
    Uncertain: """
        CODE_UNSPECIFIED MULTIPLE_RESULTS REQUEST_TIMEOUT INTERNAL_ERROR INTERNAL_SERVER_ERROR HA_NOT_AVAILABLE
        PROXY_TIMEOUT MASTER_PERSISTENCE_TIMEOUT SLAVE_PERSISTENCE_TIMEOUT""",
    Unavailable: "FORBIDDEN MESSAGE_NOT_FOUND UNRECOGNIZED_CLIENT_TYPE FAILED_TO_CONSUME_MESSAGE",
    Overloaded: "TOO_MANY_REQUESTS LITE_TOPIC_QUOTA_EXCEEDED LITE_SUBSCRIPTION_QUOTA_EXCEEDED",
    Fenced: "INVALID_RECEIPT_HANDLE",
    TooLarge: """
        PAYLOAD_TOO_LARGE MESSAGE_BODY_TOO_LARGE REQUEST_HEADER_FIELDS_TOO_LARGE MESSAGE_PROPERTIES_TOO_LARGE""",
    Denied: "UNAUTHORIZED PAYMENT_REQUIRED",
    NoSuchTopic: "NOT_FOUND TOPIC_NOT_FOUND CONSUMER_GROUP_NOT_FOUND",
    Unsupported: """
        MESSAGE_PROPERTY_CONFLICT_WITH_TYPE ILLEGAL_DELIVERY_TIME NOT_IMPLEMENTED UNSUPPORTED VERSION_UNSUPPORTED
        VERIFY_FIFO_MESSAGE_UNSUPPORTED""",
    Misconfigured: """
        ILLEGAL_ACCESS_POINT ILLEGAL_TOPIC ILLEGAL_CONSUMER_GROUP ILLEGAL_FILTER_EXPRESSION ILLEGAL_INVISIBLE_TIME
        ILLEGAL_POLLING_TIME CLIENT_ID_REQUIRED""",
    Rejected: """
        BAD_REQUEST ILLEGAL_MESSAGE_TAG ILLEGAL_MESSAGE_KEY ILLEGAL_MESSAGE_GROUP ILLEGAL_MESSAGE_PROPERTY_KEY
        INVALID_TRANSACTION_ID ILLEGAL_MESSAGE_ID MESSAGE_CORRUPTED ILLEGAL_OFFSET ILLEGAL_LITE_TOPIC
        OFFSET_NOT_FOUND MESSAGE_BODY_EMPTY PRECONDITION_FAILED""",
}
CODES: dict[str, type[EvermqError]] = {name: kind for kind, names in _NAMES.items() for name in names.split()}
# What the proxy says with a code where that tells more; nothing was stored then.
_SENTENCES: dict[str, dict[str, type[EvermqError]]] = {
    "INTERNAL_SERVER_ERROR": {
        "subscription group": NoSuchTopic,
        "topicConfig": NoSuchTopic,
        "not exist": NoSuchTopic,
        "No topic route info": NoSuchTopic,
        "not available now": Unavailable,
        "in-sync replicas": Unavailable,
        "settings": Unavailable,
        "message is illegal": TooLarge,
        "size exceeded": TooLarge,
    },
    "MESSAGE_PROPERTY_CONFLICT_WITH_TYPE": {"expected type is UNSPECIFIED": NoSuchTopic},  # there is none to ask
}
STATUSES: dict[StatusCode, type[EvermqError]] = {
    StatusCode.CANCELLED: Uncertain,
    StatusCode.UNKNOWN: Uncertain,
    StatusCode.INVALID_ARGUMENT: Rejected,
    StatusCode.DEADLINE_EXCEEDED: Uncertain,
    StatusCode.NOT_FOUND: NoSuchTopic,
    StatusCode.ALREADY_EXISTS: Rejected,
    StatusCode.PERMISSION_DENIED: Denied,
    StatusCode.UNAUTHENTICATED: Denied,
    StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    StatusCode.FAILED_PRECONDITION: Rejected,
    StatusCode.ABORTED: Uncertain,
    StatusCode.OUT_OF_RANGE: Rejected,
    StatusCode.UNIMPLEMENTED: Unsupported,
    StatusCode.INTERNAL: Uncertain,
    StatusCode.UNAVAILABLE: Uncertain,
    StatusCode.DATA_LOSS: Uncertain,
}
# What the transport says before a request could leave.
_NOT_SENT: dict[str, type[EvermqError]] = {
    "CERTIFICATE_VERIFY_FAILED": Denied,
    "Hostname Verification": Denied,
    "failed to connect": Unavailable,
    "Connection refused": Unavailable,
    "DNS resolution failed": Unavailable,
}
# What brokers and name servers answer.
BROKER_CODES: dict[int, type[EvermqError]] = {
    2: Overloaded,  # SYSTEM_BUSY
    3: Unsupported,  # REQUEST_CODE_NOT_SUPPORTED
    13: Rejected,  # MESSAGE_ILLEGAL
    15: Unsupported,  # VERSION_NOT_SUPPORTED
    16: Denied,  # NO_PERMISSION
    17: NoSuchTopic,  # TOPIC_NOT_EXIST
    22: NoSuchTopic,  # QUERY_NOT_FOUND
    26: NoSuchTopic,  # SUBSCRIPTION_GROUP_NOT_EXIST
    29: Misconfigured,  # INVALID_PARAMETER
    215: Overloaded,  # FLOW_CONTROL
}


def of_code(code: int, said: str, doing: str) -> EvermqError:
    """The error for a code of the proxy. doing: what was asked, and where."""
    name = CODE_NAMES.get(code, str(code))
    sentences = _SENTENCES.get(name, {})
    kind = next((each for sentence, each in sentences.items() if sentence in said), CODES.get(name, Uncertain))
    return kind(f"{doing}: {name}: {_first_line(said)}")


def of_rpc(error: AioRpcError, doing: str) -> EvermqError:
    """The error for what the transport raised."""
    said = error.details() or ""
    kind = next((each for text, each in _NOT_SENT.items() if text in said), None)
    if kind is None:
        kind = TooLarge if "larger than max" in said else STATUSES.get(error.code(), Uncertain)
    return kind(f"{doing}: {error.code().name}: {_first_line(said)}")


def of_broker(code: int, said: str, doing: str) -> EvermqError:
    """The error for a code of a broker or name server."""
    return BROKER_CODES.get(code, Uncertain)(f"{doing}: {code}: {_first_line(said)}")


def certain(error: EvermqError) -> EvermqError:
    """For what may be asked again: nothing is in doubt then."""
    return Unavailable(str(error)) if isinstance(error, Uncertain) else error


def _first_line(said: str) -> str:
    return (said.strip().splitlines() or [""])[0]
