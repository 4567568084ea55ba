"""Every error of the driver and every reply code of AMQP has a class that says what the caller may do next."""

import ssl

import pytest
from aiormq import exceptions as driver
from pamqp import exceptions as frames

from evermq.adapters.rabbitmq.errors import CODES, DRIVER, failure, refused
from evermq.errors import Denied, EvermqError, NoSuchTopic, Rejected, TooLarge, Unavailable, Uncertain

EXCEPTIONS = [each for each in vars(driver).values() if isinstance(each, type) and issubclass(each, Exception)]


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exception_of_the_driver_has_a_class(kind: type[Exception]) -> None:
    assert kind in DRIVER, f"{kind.__name__} is new: say in errors.py what it means"


@pytest.mark.parametrize("code", sorted(frames.CLASS_MAPPING))
def test_reply_code_has_a_class(code: int) -> None:
    assert code in CODES
    assert type(failure(driver.ConnectionClosed(code, "said"), "here", "sending")) is CODES[code]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (driver.ChannelNotFoundEntity("no exchange 'x'"), NoSuchTopic),
        (driver.ChannelAccessRefused("refused"), Denied),
        (driver.ChannelPreconditionFailed("message size 9 is larger than configured max size 8"), TooLarge),
        (driver.ChannelPreconditionFailed("something else"), Rejected),
        (driver.ChannelPreconditionFailed("delivery acknowledgement on channel 1 timed out"), Uncertain),
        (driver.ConnectionClosed(599, "a code that nobody listed"), Uncertain),
        (driver.ConnectionClosed(None, None), Uncertain),
        (ConnectionResetError("reset"), Uncertain),
        (TimeoutError(), Uncertain),
        (ValueError("a surprise"), Uncertain),
        (None, Uncertain),
    ],
    ids=repr,
)
def test_error_after_sending_says_what_may_have_happened(error: Exception | None, expected: type[EvermqError]) -> None:
    found = failure(error, "here", "sending")
    assert type(found) is expected
    assert "here: sending" in str(found)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError("refused"), Unavailable),
        (TimeoutError(), Unavailable),
        (driver.ProbableAuthenticationError("ACCESS_REFUSED"), Denied),
        (driver.ConnectionNotAllowed("vhost x not found"), Denied),
        (driver.AMQPConnectionError("Server connection unexpectedly closed"), Unavailable),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), Denied),
    ],
    ids=repr,
)
def test_error_before_sending_is_certain(error: Exception, expected: type[EvermqError]) -> None:
    assert type(refused(error, "here")) is expected
