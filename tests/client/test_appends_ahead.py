"""A producer has several appends under way where the queue keeps their order, and one everywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Producer
from evermq.client.appending import Beside
from evermq.errors import Rejected, Unavailable
from evermq.message import Message, MessageFactory
from evermq.position import Position


class Slow(MemoryQueue):
    """Takes a few turns of the loop for an append, and notes how many were under way."""

    def __init__(self) -> None:
        super().__init__("t", lanes=1)
        self.under_way = self.most = self.appends = 0

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.under_way += 1
        self.appends += 1
        self.most = max(self.most, self.under_way)
        try:
            positions = await super().append(messages)
            for _ in range(5):
                await asyncio.sleep(0)
            return positions
        finally:
            self.under_way -= 1


class Ordering(Slow):
    appends_max = 2


async def send_all(queue: Slow, count: int, **options: Any) -> list[bytes]:
    async with Producer(queue, **options) as producer:
        positions = await asyncio.gather(*(producer.send(b"%d" % i, key="k") for i in range(count)))
        assert [position.offset for position in positions] == list(range(count))
        for i in range(count, count + 10):
            producer.send_nowait(b"%d" % i, key="k")
    found = await (await queue.reader("g")).read(count_max=1_000, wait_ms=0)
    return [delivery.message.body for delivery in found]


async def test_many_that_wait_are_shared_out_among_appends_in_order() -> None:
    queue = Ordering()
    assert await send_all(queue, 300) == [b"%d" % i for i in range(310)]
    assert (queue.most, queue.under_way) == (2, 0)


async def test_few_that_wait_go_in_one_append() -> None:
    queue = Ordering()
    await send_all(queue, 20)
    assert queue.appends == 2


async def test_one_append_is_under_way_where_the_queue_does_not_order_them() -> None:
    queue = Slow()
    assert await send_all(queue, 300) == [b"%d" % i for i in range(310)]
    assert queue.most == 1


class Refusing(Ordering):
    """One that says no before it does anything, or as an answer, while later appends are on their way."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__()
        self.at_once = at_once

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        if any(message.body == b"20" for message in messages):
            for _ in range(0 if self.at_once else 5):
                await asyncio.sleep(0)
            raise Rejected("one of them is bad")
        return await super().append(messages)


async def found_by(producer: Producer, queue: Slow) -> tuple[dict[bytes, object], list[bytes]]:
    """The outcome of each body, and what was stored."""
    bodies = [b"%d" % number for number in range(300)]
    outcomes = await asyncio.gather(*(producer.send(body, key="k") for body in bodies), return_exceptions=True)
    stored = await (await queue.reader("g")).read(count_max=1_000, wait_ms=0)
    return dict(zip(bodies, outcomes, strict=True)), [delivery.message.body for delivery in stored]


async def test_neighbours_of_one_that_is_refused_keep_their_place_among_appends() -> None:
    queue = Refusing(at_once=True)
    async with Producer(queue) as producer:
        outcomes, stored = await found_by(producer, queue)
    assert [body for body, outcome in outcomes.items() if not isinstance(outcome, Position)] == [b"20"]
    assert stored == [body for body in outcomes if body != b"20"]


async def test_neighbours_do_not_go_in_behind_later_ones_and_may_be_sent_again() -> None:
    queue = Refusing(at_once=False)
    async with Producer(queue) as producer:
        outcomes, stored = await found_by(producer, queue)
    failed = {body: type(outcome) for body, outcome in outcomes.items() if not isinstance(outcome, Position)}
    assert {b"20", b"21"} <= failed.keys()
    assert set(failed.values()) == {Unavailable}
    assert stored == [body for body in outcomes if body not in failed]


async def test_one_append_is_under_way_where_it_may_have_to_be_repeated_first() -> None:
    queue = Ordering()
    await send_all(queue, 300, retry_ms_max=1_000)
    assert queue.most == 1


class Apart:
    """Refuses what has a bad one in it; what has a good one is answered once `last` is set."""

    def __init__(self) -> None:
        self.beside = Beside()
        self.last = asyncio.Event()
        self.make = MessageFactory()
        self.stored: list[bytes] = []

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        bodies = [message.body for message in messages]
        if b"bad" in bodies:
            raise Rejected("one of them is bad")
        if b"good" in bodies:
            await self.last.wait()
        self.stored.extend(bodies)
        return [Position("0", len(self.stored))] * len(messages)

    def send(self, *bodies: bytes) -> asyncio.Task[Sequence[object]]:
        messages = [self.make(body, key=b"k") for body in bodies]
        return asyncio.create_task(self.beside.outcomes_of(self.append, messages))


async def pass_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(6))
async def test_batch_that_comes_as_one_was_taken_apart_goes_in_behind_those_that_waited_for_that(turns: int) -> None:
    """It comes so many turns of the loop after the last answer to that one."""
    queue = Apart()
    sent = [queue.send(b"bad", b"good")]
    await pass_turns(5)
    sent += [queue.send(b"%d" % number) for number in range(3)]
    await pass_turns(5)
    queue.last.set()
    await pass_turns(turns)
    sent.append(queue.send(b"3"))
    await asyncio.gather(*sent)
    assert queue.stored == [b"good", b"0", b"1", b"2", b"3"]


async def test_batch_that_waited_is_taken_apart_before_the_next_one_begins() -> None:
    queue = Apart()
    batches = [[b"bad", b"good"], [b"bad", b"0"], [b"bad", b"1"], [b"2"]]
    sent = [queue.send(*batch) for batch in batches]
    await pass_turns(5)
    sent[1].cancel()
    queue.last.set()
    results = await asyncio.gather(*sent, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert queue.stored == [b"good", b"1", b"2"]
