"""Readers, queues, places and halves whose close is cut, as by a timeout, over parts that are played."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from evermq.adapters.rocketmq.halves import RocketHalves
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.adapters.rocketmq.place import RocketPlace
from evermq.adapters.rocketmq.queue import RocketQueue
from evermq.adapters.rocketmq.reader import RocketReader
from evermq.adapters.rocketmq.topic import Topic
from evermq.clock import SYSTEM
from evermq.traits import Durable

LIMIT_S = 10
TOPIC = Topic("orders", "normal", {"broker-a": 1})


class Slow:
    """A part whose first end takes until it may; ended: how often it came to one."""

    def __init__(self) -> None:
        self.may, self.ends = asyncio.Event(), asyncio.Event()
        self.ended = 0

    def join(self, reader: object) -> None: ...

    async def close(self) -> None:
        self.ends.set()
        await self.may.wait()
        self.ended += 1

    async def leave(self, reader: object) -> None:
        await self.close()


def reader(part: Any, last: Any) -> RocketReader:
    return RocketReader(part, SYSTEM)


def place(part: Any, last: Any) -> RocketPlace:
    made = RocketPlace(part, last, RocketOptions(), durable=Durable.DISK)
    last.may.set()
    return made


def queue(part: Any, last: Any) -> RocketQueue:
    made = RocketQueue(TOPIC, SimpleNamespace(proxy=None, options=RocketOptions()))  # type: ignore[arg-type]
    made._readers.append(part)
    made._sender = last
    last.may.set()
    return made


def halves(part: Any, last: Any) -> RocketHalves:
    where: Any = SimpleNamespace(proxy=None, clock=SYSTEM)
    made = RocketHalves(where, TOPIC, lambda _: None, lambda _: None)  # type: ignore[arg-type, return-value]
    made._session = part
    return made


@pytest.mark.parametrize("made", [reader, queue, halves, place], ids=lambda made: made.__name__)
async def test_what_was_cut_while_it_was_closed_is_closed_by_the_next_one(made: Any) -> None:
    part, last = Slow(), Slow()
    closed = made(part, last)
    async with asyncio.timeout(LIMIT_S):
        closing = asyncio.create_task(closed.close())
        await part.ends.wait()
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        part.may.set()
        await closed.close()
    assert part.ended
    assert last.ended == (made in (queue, place))
