"""Every error of the driver and every reply code of AMQP has a class that says what the caller may do next."""

import ssl

import pytest
from aiormq import exceptions as driver
from pamqp import exceptions as frames
from tests.adapters.error_tables import cases, check_complete, exceptions_of

from evermq.adapters.rabbitmq.errors import CODES, DRIVER, failure, refused
from evermq.errors import Denied, EvermqError, NoSuchTopic, Rejected, TooLarge, Unavailable, Uncertain


def test_exceptions_of_the_driver_have_a_class() -> None:
    check_complete(exceptions_of(driver), DRIVER)


@pytest.mark.parametrize("code", sorted(frames.CLASS_MAPPING))
def test_reply_code_has_a_class(code: int) -> None:
    check_complete([code], CODES)
    assert type(failure(driver.ConnectionClosed(code, "said"), "here", "sending")) is CODES[code]


@cases(
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
)
def test_error_after_sending_says_what_may_have_happened(error: Exception | None, expected: type[EvermqError]) -> None:
    found = failure(error, "here", "sending")
    assert type(found) is expected
    assert "here: sending" in str(found)


@cases(
    (ConnectionRefusedError("refused"), Unavailable),
    (TimeoutError(), Unavailable),
    (driver.ProbableAuthenticationError("ACCESS_REFUSED"), Denied),
    (driver.ConnectionNotAllowed("vhost x not found"), Denied),
    (driver.AMQPConnectionError("Server connection unexpectedly closed"), Unavailable),
    (ssl.SSLCertVerificationError(1, "self-signed certificate"), Denied),
)
def test_error_before_sending_is_certain(error: Exception, expected: type[EvermqError]) -> None:
    assert type(refused(error, "here")) is expected
