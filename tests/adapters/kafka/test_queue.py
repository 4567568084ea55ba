"""Readers that nobody got, and what is told to those that somebody gets."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from evermq.adapters.kafka.queue import KafkaQueue
from evermq.settling import Relaned

TOPIC: Any = SimpleNamespace(lanes=1, batch_bytes=1, name="orders", names=["0"], keeps_timestamps=True, traits=None)


class Reader:
    closed = False

    async def close(self) -> None:
        self.closed = True


async def look(topic: Any) -> Any:
    """It is the very same."""
    return topic


async def test_reader_that_was_opened_for_a_caller_who_gave_up_is_closed() -> None:
    """Else it would keep its lanes, and nobody would read them."""
    opened: list[Reader] = []

    async def read(*_: Any, **__: Any) -> Reader:
        opened.append(Reader())
        return opened[-1]

    place: Any = SimpleNamespace(read=read, look=look, check=lambda: None)
    opening = asyncio.create_task(KafkaQueue(place, TOPIC).reader("billing"))
    while not opened:
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [each.closed for each in opened] == [True]


async def test_group_is_told_that_somebody_above_drops_what_comes_again() -> None:
    told: list[bool] = []

    async def read(*_: Any, at_once: bool) -> Reader:
        told.append(at_once)
        return Reader()

    place: Any = SimpleNamespace(read=read, look=look, check=lambda: None)
    queue = KafkaQueue(place, TOPIC)
    assert isinstance(queue, Relaned)
    await queue.reader("billing")
    queue.read_at_once()
    await queue.reader("billing")
    assert told == [False, True]
