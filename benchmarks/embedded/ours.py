"""The embedded log as its users call it: `append` by tasks of a loop, `append_blocking` by threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

from embedded.messages import make_batches
from embedded.workbench import Workbench
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.message import Message
from rig.contender import Contender, Measure

__all__ = ["Batches", "awaiting", "blocking", "new_loop_of"]

Batches = list[list[Message]]
NewLoop = Callable[[], asyncio.AbstractEventLoop]
Open = Callable[[], LogPlace]


def awaiting(
    bench: Workbench, callers: int, count: int, size: int, *, loop: str = "asyncio", place: Open | None = None
) -> Contender:
    """`callers` tasks of one event loop, each awaiting `append` of `count` messages of `size` bytes at a time."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        opened = (place or bench.place)()
        batches = make_batches(bench.messages, callers, count, size)
        new_loop = new_loop_of(loop)

        def measure(seconds: float) -> float:
            with bench.topic(opened) as queue, asyncio.Runner(loop_factory=new_loop) as runner:
                return runner.run(_append(queue, batches, seconds))

        yield measure

    return Contender(
        f"await append, {callers} x {count} x {size} B, {loop}", ready, {} if loop == "asyncio" else {loop: loop}
    )


def blocking(bench: Workbench, threads: int, count: int, size: int) -> Contender:
    """`threads` threads, each calling `append_blocking` with `count` messages of `size` bytes at a time."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        place = bench.place()
        batches = make_batches(bench.messages, threads, count, size)
        with ThreadPoolExecutor(threads) as pool:

            def measure(seconds: float) -> float:
                with bench.topic(place) as queue:
                    begin = time.perf_counter()
                    end = begin + seconds
                    counts = pool.map(lambda mine: _append_blocking(queue, mine, end), batches)
                    return sum(counts) / (time.perf_counter() - begin)

            yield measure

    return Contender(f"append_blocking, {threads} x {count} x {size} B", ready)


def _append_blocking(queue: LogQueue, batches: Batches, end: float) -> int:
    done = 0
    append, clock = queue.append_blocking, time.perf_counter
    for batch in cycle(batches):
        done += len(append(batch))
        if clock() >= end:
            break
    return done


async def _append(queue: LogQueue, batches: Sequence[Batches], seconds: float) -> float:
    """Messages acknowledged a second."""
    running = True

    def stop() -> None:
        nonlocal running
        running = False

    async def caller(mine: Batches) -> int:
        done = 0
        for batch in cycle(mine):
            done += len(await queue.append(batch))
            if not running:
                break
        return done

    begin = time.perf_counter()
    asyncio.get_running_loop().call_later(seconds, stop)
    counts = await asyncio.gather(*map(caller, batches))
    return sum(counts) / (time.perf_counter() - begin)


def new_loop_of(name: str) -> NewLoop:
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
