"""Readers that nobody got."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from evermq.adapters.kafka.queue import KafkaQueue


class Reader:
    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_reader_that_was_opened_for_a_caller_who_gave_up_is_closed() -> None:
    """Else it would keep its lanes, and nobody would read them."""
    opened: list[Reader] = []

    async def read(*_: Any) -> Reader:
        opened.append(Reader())
        return opened[-1]

    place: Any = SimpleNamespace(read=read, check=lambda: None)
    topic: Any = SimpleNamespace(lanes=1, batch_bytes=1, name="orders", traits=None)
    opening = asyncio.create_task(KafkaQueue(place, topic).reader("billing"))
    while not opened:
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [each.closed for each in opened] == [True]
