"""The least that Python must do to read messages out of Redis: a round trip an entry, decoded and wrapped.

Nothing is leased, settled or remembered: a consumer that dies takes with it what it popped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

from embedded.messages import make_batches
from evermq.adapters.redis.entry import decode, encode
from evermq.port import Delivery
from evermq.position import Position
from lanes.arena import BATCH, LANES, READERS, SIZE, Arena, running
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["least_consumer"]

_new_position = partial(tuple.__new__, Position)
_new_delivery = partial(tuple.__new__, Delivery)


def least_consumer(directory: Path, count: int) -> Contender:
    """Four consumers that pop the entries which evermq writes, and make deliveries of them."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        [batches] = make_batches("plain", 1, BATCH, SIZE)
        entries = [encode(batch, 0) for batch in batches]
        with running(directory) as arena:
            yield lambda seconds: spans_per_second(lambda: arena.run(_consume(arena, entries, count)), seconds)

    return Contender(f"the least, {READERS} consumers", ready)


async def _consume(arena: Arena, entries: list[bytes], count: int) -> tuple[int, float]:
    async with arena.client() as client:
        for lane, entry in zip(cycle(range(LANES)), _many(entries, count), strict=False):
            await client.rpush(f"least:{lane}", entry)

        async def work(number: int) -> int:
            return sum([await _pop(client, lane) for lane in range(number, LANES, READERS)])

        begin = time.perf_counter()
        done = sum(await asyncio.gather(*map(work, range(READERS))))
        took = time.perf_counter() - begin
    assert done == count // BATCH * BATCH
    return done, took


def _many(entries: list[bytes], count: int) -> list[bytes]:
    """As many of them, again and again, as hold so many messages."""
    return [entry for entry, _ in zip(cycle(entries), range(count // BATCH), strict=False)]


async def _pop(client: Any, lane: int) -> int:
    done = 0
    while entry := await client.lpop(f"least:{lane}"):
        messages = decode(entry)
        positions = list(map(_new_position, zip(repeat(str(lane)), range(done, done + len(messages)), repeat(()))))
        done += len(list(map(_new_delivery, zip(messages, positions, positions, repeat(1)))))
    return done
