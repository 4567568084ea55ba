"""Consumer: what says nothing of a message is held against none, and what is another reader's is left to it."""

from __future__ import annotations

import asyncio

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Backoff, Consumer
from evermq.errors import Fenced, Misconfigured, Overloaded, Partial, Rejected, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.port import Delivery
from evermq.position import Position

QUICK = Backoff(first_ms=1, max_ms=5)
make = MessageFactory()


async def settled(queue: MemoryQueue | Ordered) -> None:
    async with asyncio.timeout(20):
        while await queue.backlog("g"):
            await asyncio.sleep(0.001)


PASSING = [
    Unavailable("away"),
    Overloaded("full"),
    Fenced("of a queue of its own"),
    Uncertain("no answer"),
    Misconfigured("AUTOCOMMIT"),
    Partial([Position("0", 0), Unavailable("away")]),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_outage_of_what_a_handler_needs_buries_nothing_and_keeps_the_order(error: Exception) -> None:
    queue, dead, tried, handled = MemoryQueue("t"), MemoryQueue("dead"), [], []
    await queue.append([make(f"{number}", key="k") for number in range(3)])

    async def handle(delivery: Delivery) -> None:
        tried.append(delivery.message.body)
        if len(tried) <= 20:
            raise error
        handled.append(delivery.message.body)

    async with Consumer(queue, "g", handle, attempts_max=2, backoff=QUICK, dead=dead) as consumer:
        await settled(queue)
    assert tried[:21] == [b"0"] * 21
    assert handled == [b"0", b"1", b"2"]
    assert (consumer.progress.dead, consumer.progress.retried, consumer.progress.released) == (0, 20, 0)


BLAMED = [ValueError("it"), Partial([Unavailable("away"), Rejected("it")]), TimeoutError()]


@pytest.mark.parametrize("error", BLAMED, ids=lambda error: type(error).__name__)
async def test_attempts_in_between_count_as_ever(error: Exception) -> None:
    queue, dead, tried = MemoryQueue("t"), MemoryQueue("dead"), 0
    await queue.append([make("0", key="k")])

    async def handle(delivery: Delivery) -> None:
        nonlocal tried
        tried += 1
        raise Unavailable("away") if tried % 3 else error

    async with Consumer(queue, "g", handle, attempts_max=4, backoff=QUICK, dead=dead) as consumer:
        await settled(queue)
    (letter,) = await (await dead.reader("ops")).read(count_max=2, wait_ms=0)
    assert letter.message.headers["evermq-dead-attempts"] == "4"
    assert (tried, consumer.progress.dead) == (12, 1)
