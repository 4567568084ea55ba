"""What people use on a Redis otherwise: plain RPUSH, LMPOP, and Streams with groups."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lanes.arena import BATCH, LANES, READERS, SIZE, Arena, redis_benchmark, running
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["lmpop", "pushing", "streams"]

_GUESS_PER_S = 100_000
Consume = Callable[[Any, int, int], Awaitable[int]]


def pushing(directory: Path) -> Contender:
    """The C client that comes with Redis."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        with running(directory) as arena:

            def measure(seconds: float) -> float:
                rate = redis_benchmark(arena.port, max(BATCH * 8, int(_GUESS_PER_S * seconds)))
                arena.run(_flush(arena))
                return rate

            yield measure

    return Contender("redis-benchmark RPUSH -P 500 -c 8", ready)


async def _flush(arena: Arena) -> None:
    async with arena.client() as client:
        await client.flushall()


def lmpop(directory: Path, count: int) -> Contender:
    """Four consumers, LMPOP of 500; what a consumer popped is lost when it dies."""
    return _consuming("LMPOP 500", directory, count, _fill_lists, _pop)


def streams(directory: Path, count: int) -> Contender:
    """Four consumers of a group over 128 streams, XREADGROUP of 500 and one XACK for them."""
    return _consuming("XREADGROUP 500 + XACK", directory, count, _fill_streams, _read_stream)


def _consuming(
    label: str, directory: Path, count: int, fill: Callable[[Any, list[bytes], int], Awaitable[None]], consume: Consume
) -> Contender:
    @contextmanager
    def ready() -> Iterator[Measure]:
        chance = random.Random(SIZE)
        bodies = [chance.randbytes(SIZE) for _ in range(BATCH)]
        with running(directory) as arena:
            arena.run(_filled(arena, bodies, count, fill))
            yield lambda seconds: spans_per_second(lambda: arena.run(_consume(arena, count, consume)), seconds)

    return Contender(f"{label}, {READERS} consumers", ready)


async def _filled(
    arena: Arena, bodies: list[bytes], count: int, fill: Callable[[Any, list[bytes], int], Awaitable[None]]
) -> None:
    async with arena.client() as client:
        for lane in range(LANES):
            await fill(client, (bodies * (count // LANES // BATCH + 1))[: count // LANES], lane)


async def _consume(arena: Arena, count: int, consume: Consume) -> tuple[int, float]:
    """The four share the lists; they begin with full ones each time."""
    async with arena.client() as client:
        for lane in range(LANES):
            if await client.exists(f"full:{lane}"):
                await client.copy(f"full:{lane}", f"list:{lane}", replace=True)
            else:
                await client.xgroup_setid(f"stream:{lane}", "billing", 0)

        async def work(number: int) -> int:
            return sum([await consume(client, lane, number) for lane in range(number, LANES, READERS)])

        begin = time.perf_counter()
        done = sum(await asyncio.gather(*map(work, range(READERS))))
        took = time.perf_counter() - begin
    assert done == count // LANES * LANES
    return done, took


async def _fill_lists(client: Any, bodies: list[bytes], lane: int) -> None:
    await client.rpush(f"full:{lane}", *bodies)


async def _pop(client: Any, lane: int, number: int) -> int:
    done = 0
    while found := await client.lmpop(1, f"list:{lane}", direction="LEFT", count=BATCH):
        done += len(found[1])
    return done


async def _fill_streams(client: Any, bodies: list[bytes], lane: int) -> None:
    async with client.pipeline(transaction=False) as pipe:
        for body in bodies:
            pipe.xadd(f"stream:{lane}", {"b": body})
        await pipe.execute()
    await client.xgroup_create(f"stream:{lane}", "billing", 0)


async def _read_stream(client: Any, lane: int, number: int) -> int:
    done = 0
    while True:
        found = await client.xreadgroup("billing", f"c{number}", {f"stream:{lane}": ">"}, count=BATCH)
        entries = found[0][1] if found else []
        if not entries:
            return done
        await client.xack(f"stream:{lane}", "billing", *(entry[0] for entry in entries))
        done += len(entries)
