"""What each error code of Kafka, of librdkafka and of aiokafka means to the caller of evermq."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

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

__all__ = ["AGAIN", "CLASSES", "CLIENT_CLASSES", "class_of", "of_aiokafka", "of_librdkafka"]

# Names as confluent_kafka.KafkaError has them; those with an underscore are made by librdkafka itself. What they mean:
# https://kafka.apache.org/protocol#protocol_error_codes, and rd_kafka_resp_err_t in librdkafka's rdkafka.h.
_NAMES: dict[type[EvermqError], str] = {
    # The broker, or the client, says that it did not append, or serves nothing of the kind at the moment. That a time
    # is not valid says something of two clocks, and nothing of the message.
    Unavailable: """
        INVALID_MSG LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE
        COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR NOT_ENOUGH_REPLICAS REBALANCE_IN_PROGRESS
        NOT_CONTROLLER CONCURRENT_TRANSACTIONS OPERATION_NOT_ATTEMPTED LISTENER_NOT_FOUND FENCED_LEADER_EPOCH
        UNKNOWN_LEADER_EPOCH OFFSET_NOT_AVAILABLE UNSTABLE_OFFSET_COMMIT PREFERRED_LEADER_NOT_AVAILABLE
        ELIGIBLE_LEADERS_NOT_AVAILABLE REASSIGNMENT_IN_PROGRESS STALE_BROKER_EPOCH UNKNOWN_CONTROLLER_ID
        REBOOTSTRAP_REQUIRED LOG_DIR_NOT_FOUND ELECTION_NOT_NEEDED FETCH_SESSION_ID_NOT_FOUND
        INVALID_FETCH_SESSION_EPOCH SHARE_SESSION_NOT_FOUND INVALID_SHARE_SESSION_EPOCH MEMBER_ID_REQUIRED
        STALE_CTRL_EPOCH _DESTROY _RESOLVE _ALL_BROKERS_DOWN _WAIT_COORD _TIMED_OUT_QUEUE _WAIT_CACHE _PURGE_QUEUE
        _ISR_INSUFF _PREV_IN_PROGRESS _IN_PROGRESS _RETRY _NODE_UPDATE _DESTROY_BROKER _UNKNOWN_BROKER _OUTDATED
        INVALID_TIMESTAMP""",
    # It may have been appended: time ran out on the way or waiting for replicas, or it failed midway.
    Uncertain: """
        UNKNOWN REQUEST_TIMED_OUT NETWORK_EXCEPTION NOT_ENOUGH_REPLICAS_AFTER_APPEND OUT_OF_ORDER_SEQUENCE_NUMBER
        DUPLICATE_SEQUENCE_NUMBER INVALID_PRODUCER_ID_MAPPING INVALID_TXN_STATE KAFKA_STORAGE_ERROR UNKNOWN_PRODUCER_ID
        TRANSACTION_ABORTABLE PRINCIPAL_DESERIALIZATION_FAILURE _BAD_MSG _FAIL _TRANSPORT _CRIT_SYS_RESOURCE
        _MSG_TIMED_OUT _TIMED_OUT _INTR _PURGE_INFLIGHT _FATAL _INCONSISTENT _GAPLESS_GUARANTEE _PARTIAL _UNDERFLOW
        _APPLICATION _NOOP _PARTITION_EOF _NO_OFFSET _ASSIGN_PARTITIONS _REVOKE_PARTITIONS _STATE _CONFLICT""",
    Overloaded: """
        GROUP_MAX_SIZE_REACHED THROTTLING_QUOTA_EXCEEDED SHARE_SESSION_LIMIT_REACHED _QUEUE_FULL""",
    Fenced: """
        ILLEGAL_GENERATION UNKNOWN_MEMBER_ID INVALID_PRODUCER_EPOCH TRANSACTION_COORDINATOR_FENCED FENCED_INSTANCE_ID
        PRODUCER_FENCED FENCED_MEMBER_EPOCH UNRELEASED_INSTANCE_ID STALE_MEMBER_EPOCH FENCED_STATE_EPOCH
        STREAMS_TOPOLOGY_FENCED _FENCED _ASSIGNMENT_LOST _MAX_POLL_EXCEEDED""",
    TooLarge: """
        MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE INVALID_MSG_SIZE OFFSET_METADATA_TOO_LARGE
        INVALID_COMMIT_OFFSET_SIZE TELEMETRY_TOO_LARGE""",
    Denied: """
        TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED SECURITY_DISABLED
        TRANSACTIONAL_ID_AUTHORIZATION_FAILED SASL_AUTHENTICATION_FAILED ILLEGAL_SASL_STATE
        DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND DELEGATION_TOKEN_OWNER_MISMATCH
        DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DELEGATION_TOKEN_AUTHORIZATION_FAILED DELEGATION_TOKEN_EXPIRED
        UNACCEPTABLE_CREDENTIAL TOPIC_DELETION_DISABLED _AUTHENTICATION _SSL _READ_ONLY""",
    NoSuchTopic: """
        UNKNOWN_TOPIC_OR_PART UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID GROUP_ID_NOT_FOUND _UNKNOWN_PARTITION
        _UNKNOWN_TOPIC _UNKNOWN_GROUP""",
    Unsupported: """
        UNSUPPORTED_SASL_MECHANISM UNSUPPORTED_VERSION UNSUPPORTED_FOR_MESSAGE_FORMAT UNSUPPORTED_COMPRESSION_TYPE
        UNSUPPORTED_ASSIGNOR UNSUPPORTED_ENDPOINT_TYPE MISMATCHED_ENDPOINT_TYPE INCONSISTENT_GROUP_PROTOCOL
        _BAD_COMPRESSION _NOT_IMPLEMENTED _UNSUPPORTED_FEATURE _UNKNOWN_PROTOCOL""",
    Misconfigured: """
        INVALID_GROUP_ID INVALID_SESSION_TIMEOUT INVALID_REQUIRED_ACKS INVALID_PARTITIONS INVALID_REPLICATION_FACTOR
        INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG INVALID_TRANSACTION_TIMEOUT INVALID_REGULAR_EXPRESSION
        _INVALID_ARG _NOT_CONFIGURED _FS""",
    Rejected: """
        OFFSET_OUT_OF_RANGE TOPIC_EXCEPTION TOPIC_ALREADY_EXISTS INVALID_REQUEST POLICY_VIOLATION
        INVALID_PRINCIPAL_TYPE NON_EMPTY_GROUP NO_REASSIGNMENT_IN_PROGRESS GROUP_SUBSCRIBED_TO_TOPIC INVALID_RECORD
        RESOURCE_NOT_FOUND DUPLICATE_RESOURCE INCONSISTENT_VOTER_SET INVALID_UPDATE_VERSION FEATURE_UPDATE_FAILED
        UNKNOWN_SUBSCRIPTION_ID INVALID_REGISTRATION INVALID_RECORD_STATE INVALID_VOTER_KEY DUPLICATE_VOTER
        VOTER_NOT_FOUND STREAMS_INVALID_TOPOLOGY STREAMS_INVALID_TOPOLOGY_EPOCH _EXISTING_SUBSCRIPTION
        _KEY_SERIALIZATION _VALUE_SERIALIZATION _KEY_DESERIALIZATION _VALUE_DESERIALIZATION _NOENT _INVALID_TYPE
        _INVALID_DIFFERENT_RECORD _AUTO_OFFSET_RESET _LOG_TRUNCATION""",
}
CLASSES: dict[int, type[EvermqError]] = {
    getattr(KafkaError, name): kind for kind, names in _NAMES.items() for name in names.split()
}

# A produce request that ends so may be sent again as it is: its numbers tell the broker whether it has it already.
_AGAIN_NAMES = """
    INVALID_MSG UNKNOWN_TOPIC_OR_PART LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT
    BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE NETWORK_EXCEPTION NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND
    KAFKA_STORAGE_ERROR LISTENER_NOT_FOUND FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH THROTTLING_QUOTA_EXCEEDED"""
AGAIN = frozenset(getattr(KafkaError, name) for name in _AGAIN_NAMES.split())

# A reader that meets one of these is of no use any more.
_ENDING_NAMES = """
    TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED SASL_AUTHENTICATION_FAILED _AUTHENTICATION _SSL
    UNKNOWN_TOPIC_OR_PART _UNKNOWN_TOPIC _FATAL"""
ENDING = frozenset(getattr(KafkaError, name) for name in _ENDING_NAMES.split())

# Errors that aiokafka makes without a code of the protocol.
CLIENT_CLASSES: dict[str, type[EvermqError]] = {
    "AuthenticationFailedError": Denied,
    "AuthenticationMethodNotSupported": Denied,
    "CommitFailedError": Fenced,
    "IncompatibleBrokerVersion": Unsupported,
    "KafkaConfigurationError": Misconfigured,
    "MetadataEmptyBrokerList": Unavailable,
    "NoBrokersAvailable": Unavailable,
    "NodeNotReadyError": Unavailable,
    "ProducerFenced": Fenced,
    "QuotaViolationError": Overloaded,
    "RecordTooLargeError": TooLarge,
    "StaleMetadata": Unavailable,
    "TooManyInFlightRequests": Overloaded,
    "UnrecognizedBrokerVersion": Unsupported,
    "UnsupportedCodecError": Unsupported,
}

_FENCED = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()  # the driver tells it as _FATAL, with this in its words


def class_of(code: int) -> type[EvermqError]:
    """The class of a code; a code that nobody listed is Uncertain."""
    return CLASSES.get(code, Uncertain)


def of_librdkafka(error: Any, doing: str) -> EvermqError:
    """The error of evermq for a KafkaError of confluent-kafka; `doing` says what was tried, and where."""
    if error.code() == KafkaError._FATAL and _FENCED in error.str():
        return Fenced(
            f"{doing}: another process has the same group.instance.id, and took over: give each a name of its own"
        )
    return class_of(error.code())(f"{doing}: {error.str()} ({error.name()})")


def of_aiokafka(error: BaseException, doing: str) -> EvermqError:
    """The error of evermq for an exception of aiokafka."""
    name = type(error).__name__
    kind = CLIENT_CLASSES.get(name) or class_of(getattr(error, "errno", None) or -1)
    said = str(error)
    return kind(f"{doing}: {said if name in said else f'{name} {said}'.rstrip()}")
