"""Dead letters: whatever a queue took can be one, and says as much of itself as there is room for."""

from __future__ import annotations

import asyncio
import logging

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Backoff, Consumer
from evermq.errors import Rejected, TooLarge
from evermq.message import Message, MessageFactory
from evermq.port import Delivery

QUICK = Backoff(first_ms=1, max_ms=5)
LIMIT = 10_000
WHERE = ["evermq-dead-topic", "evermq-dead-group", "evermq-dead-attempts"]


async def buried(size: int, reason: str, headers: dict[str, str] | None = None) -> Message:
    """What became of a message of this size whose handler fails so."""
    queue, dead = MemoryQueue("t", message_bytes_max=LIMIT), MemoryQueue("dead", message_bytes_max=LIMIT)
    await queue.append([MessageFactory()(b"x" * size, headers=headers)])

    async def handle(delivery: Delivery) -> None:
        raise Rejected(reason)

    async with asyncio.timeout(20), Consumer(queue, "g", handle, backoff=QUICK, dead=dead):
        while await queue.backlog("g"):
            await asyncio.sleep(0.001)
    [delivery] = await (await dead.reader("ops")).read(count_max=2, wait_ms=1_000)
    return delivery.message


@pytest.mark.parametrize("letter", ["x", "\ud800", "\U0001f600"])
async def test_reason_is_cut(letter: str) -> None:
    message = await buried(10, letter * 100_000)
    reason = message.headers["evermq-dead-reason"]
    assert reason.startswith("Rejected: " + letter.encode(errors="backslashreplace").decode())
    assert 1_000 < len(reason.encode()) <= 1_024


@pytest.mark.parametrize(
    ("size", "left"), [(LIMIT - 300, [*WHERE, "evermq-dead-reason"]), (LIMIT - 150, WHERE), (LIMIT - 5, [])]
)
async def test_message_near_the_limit_says_what_it_has_room_for(size: int, left: list[str]) -> None:
    message = await buried(size, "no" * 50, {"a": "b"})
    assert list(message.headers) == ["a", *left]
    assert len(message.body) == size


async def test_message_that_the_dead_letters_never_take_is_told_of_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue, dead = MemoryQueue("t"), MemoryQueue("dead", message_bytes_max=100)
    message = MessageFactory()
    await queue.append([message(b"x" * 200, key="large", id="large-one"), message(b"good", key="other")])
    told: list[BaseException] = []

    async def handle(delivery: Delivery) -> None:
        if delivery.message.key == b"large":
            raise ValueError("never")

    async with Consumer(queue, "g", handle, attempts_max=1, backoff=QUICK, dead=dead, on_error=told.append):
        async with asyncio.timeout(20):
            while await queue.backlog("g") > 1 or sum(isinstance(error, TooLarge) for error in told) < 3:
                await asyncio.sleep(0.001)
    [record] = [each for each in caplog.records if "large-one" in each.getMessage()]
    assert record.levelno == logging.WARNING
    assert "dead" in record.getMessage()
