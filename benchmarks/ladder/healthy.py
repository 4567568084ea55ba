"""What a ladder costs while nothing is wrong: the same work through it, and through the bare adapter of its primary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from brokers.arena import BATCH, SENDERS, batches
from evermq.message import Message
from evermq.port import Queue
from ladder.rungs import Rungs
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["appending", "there_and_back"]

Open = Callable[[], Awaitable[Any]]  # a Queue, or as much of one as is used here
_BATCHES_THERE = 4  # a sender, in one span there and back


def appending(label: str, rungs: Rungs, open_: Open) -> Contender:
    """Batches with keys, several appends under way."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        with _opened(rungs, open_) as queue:
            stock = batches(1_024)
            yield lambda seconds: rungs.runner.run(_append(queue, stock, seconds))

    return Contender(f"{label}: append, batches of {BATCH}", ready)


def there_and_back(label: str, rungs: Rungs, open_: Open) -> Contender:
    """The same, and one reader that has read and acknowledged all of it."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        with _opened(rungs, open_) as queue:
            stock = batches(1_024, SENDERS * 2)
            reader = rungs.runner.run(queue.reader("billing"))

            async def span() -> tuple[int, float]:
                count = SENDERS * _BATCHES_THERE * BATCH

                async def read() -> None:
                    left = count
                    while left > 0:
                        found = await reader.read(count_max=500, wait_ms=10_000)
                        await reader.ack(found)
                        left -= len(found)

                begin = time.perf_counter()
                await asyncio.gather(read(), *(_send(queue, stock[i::SENDERS]) for i in range(SENDERS)))
                return count, time.perf_counter() - begin

            yield lambda seconds: spans_per_second(lambda: rungs.runner.run(span()), seconds)
            rungs.runner.run(reader.close())

    return Contender(f"{label}: append, read and ack", ready)


@contextmanager
def _opened(rungs: Rungs, open_: Open) -> Iterator[Any]:
    queue = rungs.runner.run(_call(open_))
    yield queue
    rungs.runner.run(queue.close())


async def _call(open_: Open) -> Any:
    return await open_()


async def _send(queue: Queue, stock: list[list[Message]]) -> None:
    for batch, _ in zip(cycle(stock), range(_BATCHES_THERE), strict=False):
        await queue.append(batch)


async def _append(queue: Queue, stock: list[list[Message]], seconds: float) -> float:
    begin = time.perf_counter()
    end = begin + seconds

    async def send(number: int) -> int:
        done = 0
        for batch in cycle(stock[number::SENDERS]):
            await queue.append(batch)
            done += len(batch)
            if time.perf_counter() >= end:
                break
        return done

    return sum(await asyncio.gather(*map(send, range(SENDERS)))) / (time.perf_counter() - begin)
