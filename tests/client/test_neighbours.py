"""Sends share an append, and nothing else: what the queue refuses takes nobody with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Producer
from evermq.errors import Denied, EvermqError, Partial, Rejected, TooLarge, Unavailable
from evermq.message import Message
from evermq.position import Position

BAD: list[dict[str, Any]] = [
    {"key": 0},
    {"headers": {"a": 5}},
    {"id": 5},
    {"delay_ms": 1.5},
    {"delay_ms": 10**30},
    {"body": {"a": "dictionary"}},
    {"body": b"x" * 2_000},
]


async def stored(queue: MemoryQueue) -> list[bytes]:
    found = await (await queue.reader("g")).read(count_max=1_000, wait_ms=0)
    return [delivery.message.body for delivery in found]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: "".join(bad))
async def test_message_that_is_refused_fails_alone(bad: dict[str, Any]) -> None:
    queue = MemoryQueue("t", lanes=1, message_bytes_max=1_000)
    one_way: list[object] = []
    async with Producer(queue, on_outcome=lambda _, outcome: one_way.append(type(outcome))) as producer:
        given: list[dict[str, Any]] = [{"body": b"%d" % number, "key": "k"} for number in range(5)]
        given[2] = {"body": b"bad", "id": "the-bad-one", **bad}
        made = [asyncio.create_task(producer.send(**each)) for each in given]
        await asyncio.sleep(0)
        producer.send_nowait(b"one way", key="k")
        found = await asyncio.gather(*made, return_exceptions=True)
    assert [type(each) for each in found[:2] + found[3:]] == [Position] * 4
    assert isinstance(found[2], Rejected)
    assert one_way == [Position]
    assert await stored(queue) == [b"0", b"1", b"3", b"4", b"one way"]


async def test_each_of_several_that_are_refused_is_told_of_itself() -> None:
    queue = MemoryQueue("t", lanes=1, message_bytes_max=1_000)
    async with Producer(queue) as producer:
        bodies = [b"%d" % number if number % 3 else b"x" * 2_000 for number in range(10)]
        with pytest.raises(Partial) as told:
            await producer.send_many([producer.message(body, id=f"m{n}") for n, body in enumerate(bodies)])
    refused = {n: str(outcome) for n, outcome in enumerate(told.value.outcomes) if isinstance(outcome, TooLarge)}
    assert [*refused] == [0, 3, 6, 9]
    assert all(f"m{number}" in said for number, said in refused.items())
    assert await stored(queue) == [body for body in bodies if len(body) == 1]


class Goes(MemoryQueue):
    """Refuses a batch for the sake of one body, and goes away once so many appends were made."""

    def __init__(self, appends: int, error: EvermqError) -> None:
        super().__init__("t", lanes=1)
        self.appends = appends
        self.error = error

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.appends -= 1
        if self.appends < 0:
            raise self.error
        if any(message.body == b"bad" for message in messages):
            raise Rejected("one of them is bad")
        return await super().append(messages)


async def test_what_is_behind_one_that_may_yet_succeed_is_not_sent_past_it() -> None:
    queue = Goes(3, Unavailable("gone"))  # all; bad and 1; bad: then it is gone
    async with Producer(queue) as producer:
        sends = [producer.send(body) for body in (b"bad", b"1", b"2", b"3")]
        found = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(each) for each in found] == [Rejected, Unavailable, Unavailable, Unavailable]
    assert queue.appends == -1


async def test_what_was_not_sent_past_another_is_sent_again_behind_it() -> None:
    class Back(Goes):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            if self.appends == -1:
                self.appends = 100
            return await super().append(messages)

    queue = Back(3, Unavailable("gone"))
    async with Producer(queue, retry_ms_max=10_000) as producer:
        sends = [producer.send(body) for body in (b"bad", b"1", b"2", b"3")]
        found = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(each) for each in found] == [Rejected, Position, Position, Position]
    assert await stored(queue) == [b"1", b"2", b"3"]


async def test_who_may_not_send_at_all_is_not_asked_for_each_message() -> None:
    queue = Goes(0, Denied("no right to this topic"))
    async with Producer(queue) as producer:
        with pytest.raises(Denied):
            await producer.send_many([b"x"] * 100)
    assert queue.appends == -1
