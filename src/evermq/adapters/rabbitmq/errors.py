"""What each error of the driver and each reply code of AMQP means for the caller; what is not listed is Uncertain.

Codes: https://www.rabbitmq.com/amqp-0-9-1-reference (constants), and pamqp's list of them. An error that closes a
channel says nothing of the other messages that were on their way in it; those are Uncertain (see publisher.py).
"""

from __future__ import annotations

from aiormq import exceptions as driver
from pamqp import exceptions as frames

from evermq.adapters.certificate import distrust
from evermq.errors import (
    Denied,
    EvermqError,
    Misconfigured,
    NoSuchTopic,
    Overloaded,
    Rejected,
    TooLarge,
    Unavailable,
    Uncertain,
    Unsupported,
)

__all__ = ["CODES", "DRIVER", "failure", "refused"]

# Reply codes by which a server closes a channel or a connection, or returns a message.
CODES: dict[int, type[EvermqError]] = {
    311: TooLarge,  # CONTENT-TOO-LARGE
    312: NoSuchTopic,  # NO-ROUTE: a mandatory message that no queue would take
    313: Unavailable,  # NO-CONSUMERS
    320: Uncertain,  # CONNECTION-FORCED: the server goes down, with what was on its way
    402: Misconfigured,  # INVALID-PATH
    403: Denied,  # ACCESS-REFUSED
    404: NoSuchTopic,  # NOT-FOUND
    405: Unavailable,  # RESOURCE-LOCKED
    406: Rejected,  # PRECONDITION-FAILED
    501: Uncertain,  # FRAME-ERROR
    502: Uncertain,  # SYNTAX-ERROR
    503: Uncertain,  # COMMAND-INVALID
    504: Uncertain,  # CHANNEL-ERROR
    505: Uncertain,  # UNEXPECTED-FRAME
    506: Overloaded,  # RESOURCE-ERROR
    530: Denied,  # NOT-ALLOWED: no such virtual host, or no right to it
    540: Unsupported,  # NOT-IMPLEMENTED
    541: Uncertain,  # INTERNAL-ERROR
}
# What the server says with 406 where that tells more.
_SENTENCES: dict[str, type[EvermqError]] = {
    "larger than": TooLarge,
    "inequivalent arg": Misconfigured,
    "unknown delivery tag": Uncertain,
    "delivery acknowledgement": Uncertain,  # consumer_timeout: what was out comes again
}
# What the driver raises by itself.
DRIVER: dict[type[BaseException], type[EvermqError]] = {
    driver.AMQPError: Uncertain,
    driver.AMQPConnectionError: Uncertain,
    driver.IncompatibleProtocolError: Unsupported,
    driver.AuthenticationError: Denied,
    driver.ProbableAuthenticationError: Denied,
    driver.ConnectionClosed: Uncertain,
    driver.ConnectionSyntaxError: Uncertain,
    driver.ConnectionFrameError: Uncertain,
    driver.ConnectionCommandInvalid: Uncertain,
    driver.ConnectionChannelError: Uncertain,
    driver.ConnectionUnexpectedFrame: Uncertain,
    driver.ConnectionResourceError: Overloaded,
    driver.ConnectionNotAllowed: Denied,
    driver.ConnectionNotImplemented: Unsupported,
    driver.ConnectionInternalError: Uncertain,
    driver.AMQPChannelError: Uncertain,
    driver.ChannelClosed: Uncertain,
    driver.ChannelAccessRefused: Denied,
    driver.ChannelNotFoundEntity: NoSuchTopic,
    driver.ChannelLockedResource: Unavailable,
    driver.ChannelPreconditionFailed: Rejected,
    driver.DuplicateConsumerTag: Unavailable,
    driver.ProtocolSyntaxError: Uncertain,
    driver.InvalidFrameError: Uncertain,
    driver.MethodNotImplemented: Unsupported,
    driver.DeliveryError: Uncertain,
    driver.PublishError: NoSuchTopic,
    driver.ChannelInvalidStateError: Unavailable,
    frames.PAMQPException: Uncertain,
    TimeoutError: Uncertain,
    OSError: Uncertain,
}


def failure(error: BaseException | None, where: str, doing: str) -> EvermqError:
    """What went wrong with a request that was sent. where: the server. doing: what was asked, for the message."""
    if isinstance(error, EvermqError):
        return error
    kind = _kind(error)
    doubt = "it is not known whether that was done: " if kind is Uncertain else ""
    return kind(f"rabbitmq {where}: {doing}: {doubt}{_said(error)}")


def _kind(error: BaseException | None) -> type[EvermqError]:
    text = str(error).lower()
    kinds = (DRIVER[each] for each in type(error).__mro__ if each in DRIVER)
    kind = next(kinds, Uncertain)
    if isinstance(error, driver.ConnectionClosed | driver.ChannelClosed) and kind is Uncertain:
        code = error.args[0] if error.args else None
        kind = CODES.get(code, Uncertain) if isinstance(code, int) else Uncertain
    if kind is Rejected:
        kind = next((each for sentence, each in _SENTENCES.items() if sentence in text), Rejected)
    return kind


def _said(error: BaseException | None) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return str(error) or type(error).__name__


def refused(error: BaseException, where: str) -> EvermqError:
    """What went wrong before anything was asked: a connection that could not be made."""
    if reason := distrust(error):
        return Denied(f"rabbitmq {where}: {reason}")
    kind = _kind(error)
    if kind in (Denied, Unsupported, Misconfigured):
        return kind(f"rabbitmq {where}: {_said(error)}")
    return Unavailable(f"rabbitmq {where} cannot be reached: {_said(error)}")
