"""The least that Python must do to read messages out of Redis without losing any: a round trip an entry, decoded and
wrapped, that settles the entry before under its lease and leases the next list.

One group, no attempts, no order of what is given back, and nothing that is due later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
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

_SETTLE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('LTRIM', KEYS[2], 1, -1)
redis.call('DEL', KEYS[1])
return 1
"""
_LEASE_MS = 30_000


def least_consumer(directory: Path, count: int) -> Contender:
    """Four consumers that lease the lists which evermq writes, make deliveries of their entries, and settle them."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        [batches] = make_batches("plain", 1, BATCH, SIZE)
        entries = [encode(batch, 0) for batch in batches]
        with running(directory) as arena:
            yield lambda seconds: spans_per_second(lambda: arena.run(_consume(arena, entries, count)), seconds)

    return Contender(f"the least, {READERS} consumers", ready)


async def _consume(arena: Arena, entries: list[bytes], count: int) -> tuple[int, float]:
    each = count // BATCH // LANES
    async with arena.client() as client:
        for lane, entry in zip(cycle(range(LANES)), _many(entries, count), strict=False):
            await client.rpush(f"least:{lane}", entry)

        async def work(number: int) -> int:
            return await _read(
                client, str(number), [lane for lane in range(number, LANES, READERS) for _ in range(each)]
            )

        begin = time.perf_counter()
        done = sum(await asyncio.gather(*map(work, range(READERS))))
        took = time.perf_counter() - begin
    assert done == count // BATCH * BATCH
    return done, took


def _many(entries: list[bytes], count: int) -> list[bytes]:
    """As many of them, again and again, as hold so many messages."""
    return [entry for entry, _ in zip(cycle(entries), range(count // BATCH), strict=False)]


async def _read(client: Any, token: str, lanes: list[int]) -> int:
    """An entry of each, whose number is known beforehand: no list is asked in vain."""
    done, held = 0, -1
    settle = await client.script_load(_SETTLE)
    for lane in lanes:
        pipe = _settling(client, settle, held, token)
        pipe.set(f"lease:{lane}", token, nx=True, px=_LEASE_MS)
        pipe.lindex(f"least:{lane}", 0)
        *_, entry = await pipe.execute()
        done, held = done + len(_deliveries(str(lane), entry)), lane
    await _settling(client, settle, held, token).execute()
    return done


def _settling(client: Any, settle: str, lane: int, token: str) -> Any:
    pipe = client.pipeline(transaction=False)
    if lane >= 0:
        pipe.evalsha(settle, 2, f"lease:{lane}", f"least:{lane}", token)
    return pipe


def _deliveries(lane: str, entry: bytes) -> list[Delivery]:
    messages = decode(entry)
    positions = list(map(Position, repeat(lane), range(len(messages))))
    return list(map(Delivery, messages, positions, positions, repeat(1)))
