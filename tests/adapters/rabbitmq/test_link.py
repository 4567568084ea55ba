"""What a request of RabbitMQ's link ends with, without any server."""

import asyncio

import pytest
from aiormq.exceptions import ChannelInvalidStateError

from evermq.adapters.rabbitmq.link import Link, Login
from evermq.errors import Unavailable, Uncertain


async def ends() -> None:
    """As the driver does for a request whose channel ends: it makes an error of its own of a cancellation."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        raise ChannelInvalidStateError("the channel was closed") from error


def link(timeout_ms: int) -> Link:
    return Link(Login([("127.0.0.1", 1)], "/", "guest", "guest", None, 60, timeout_ms), "test")


async def test_request_that_is_cancelled_while_its_channel_ends_is_cancelled() -> None:
    asking = asyncio.create_task(link(60_000).ask(ends(), "look at a queue"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_request_that_is_late_while_its_channel_ends_is_not_taken_for_cancelled() -> None:
    with pytest.raises(Unavailable):
        await link(1).ask(ends(), "look at a queue", patient=True)


async def ended() -> None:
    """As the driver ends a request whose connection is closed meanwhile."""
    raise asyncio.CancelledError


async def test_request_whose_connection_is_closed_is_told_and_not_cancelled() -> None:
    """Who was cancelled by nobody would take it for an order to end."""
    with pytest.raises(Uncertain, match="was closed"):
        await link(60_000).ask(ended(), "look at a queue")
