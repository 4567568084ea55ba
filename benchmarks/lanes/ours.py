"""evermq's adapter: batches appended by four callers, and four readers that ack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from embedded.messages import make_batches
from evermq.adapters.open import open_place
from evermq.message import Message
from evermq.port import Place, Queue, Reader
from lanes.arena import BATCH, LANES, READERS, SIZE, Arena, running
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["appender", "consumer"]

CALLERS = 4


def appender(directory: Path, kind: str) -> Contender:
    """Four tasks, each appending batches of 500. kind: plain for messages without a key, keyed for those with one."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        batches = make_batches(kind, CALLERS, BATCH, SIZE)
        with running(directory) as arena:
            yield lambda seconds: arena.run(_append(arena, batches, seconds))

    return Contender(f"evermq redis, {CALLERS} callers, {kind}", ready)


async def _place(arena: Arena) -> tuple[Place, Queue]:
    place = await open_place(f"redis://127.0.0.1:{arena.port}/?lane_count_max=1000000")
    await place.create("orders", groups=["billing"], lanes=LANES)
    return place, await place.queue("orders")


async def _append(arena: Arena, batches: list[list[list[Message]]], seconds: float) -> float:
    place, queue = await _place(arena)
    begin = time.perf_counter()
    end = begin + seconds

    async def caller(mine: list[list[Message]]) -> int:
        done = 0
        for batch in cycle(mine):
            await queue.append(batch)
            done += len(batch)
            if time.perf_counter() >= end:
                break
        return done

    rate = sum(await asyncio.gather(*map(caller, batches))) / (time.perf_counter() - begin)
    await place.drop("orders")
    await place.close()
    return rate


def consumer(directory: Path, count: int) -> Contender:
    """Four readers of a group: read up to 500, ack them, until all is settled."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        [batches] = make_batches("plain", 1, BATCH, SIZE)
        with running(directory) as arena:
            yield lambda seconds: spans_per_second(lambda: arena.run(_consume(arena, batches, count)), seconds)

    return Contender(f"evermq redis, {READERS} readers", ready)


async def _consume(arena: Arena, batches: list[list[Message]], count: int) -> tuple[int, float]:
    place, queue = await _place(arena)
    for batch, _ in zip(cycle(batches), range(count // BATCH), strict=False):
        await queue.append(batch)
    readers = [await queue.reader("billing") for _ in range(READERS)]
    left = count // BATCH * BATCH

    async def consume(reader: Reader) -> None:
        nonlocal left
        while left > 0:
            found = await reader.read(count_max=BATCH, wait_ms=20)
            await reader.ack(found)
            left -= len(found)

    begin = time.perf_counter()
    await asyncio.gather(*map(consume, readers))
    took = time.perf_counter() - begin
    await place.drop("orders")
    await place.close()
    return count // BATCH * BATCH, took
