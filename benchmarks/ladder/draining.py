"""The return: the primary has the live traffic again while readers empty the standby."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from math import inf

from brokers.arena import batches
from evermq.adapters.open import open_queue
from evermq.port import Queue, Reader
from ladder.rungs import Ladder, Rungs
from rig.contender import Contender, Measure

__all__ = ["Draining"]

READERS = 2
LIVE_COUNT = 100  # messages in a batch of the live traffic
_FILL_COUNT = 1_000
_HEALTHY_S = 1.0
_TIMES_LIVE = 4  # how fast the standby is read at most


class Draining:
    """live_per_s: the rate of the live traffic; backlog: messages that wait in the standby when it begins.

    One round has four figures, and each of them is asked for by a contender of its own: the first that asks has the
    round played, the others get what it gave.
    """

    def __init__(self, rungs: Rungs, *, live_per_s: int, backlog: int) -> None:
        self._rungs = rungs
        self._live_per_s = live_per_s
        self._backlog = backlog
        self._stock = batches(1_024)
        self._figures: dict[str, deque[float]] = {}

    def contender(self, figure: str, label: str) -> Contender:
        """figure: drained, live: messages a second; healthy, draining: one by the p99 of a live send in seconds."""

        @contextmanager
        def ready() -> Iterator[Measure]:
            yield lambda seconds: self._take(figure)

        return Contender(label, ready)

    def _take(self, figure: str) -> float:
        if not self._figures.get(figure):
            for name, value in self._rungs.runner.run(self._play()).items():
                self._figures.setdefault(name, deque()).append(value)
        return self._figures[figure].popleft()

    async def _play(self) -> dict[str, float]:
        ladder = Ladder(self._rungs, f"drain_per_s_max = {_TIMES_LIVE * self._live_per_s}")
        queue = await ladder.open()
        standby = await open_queue(ladder.standby)
        readers = [await queue.reader("billing") for _ in range(READERS)]
        healthy = await _Phase(queue, self._live_per_s).run(readers, seconds=_HEALTHY_S)
        for start in range(0, self._backlog, _FILL_COUNT):
            await standby.append(self._stock[start // _FILL_COUNT % len(self._stock)])
        begin = time.perf_counter()
        draining = await _Phase(queue, self._live_per_s).run(readers, backlog=self._backlog)
        took = time.perf_counter() - begin
        await queue.close()
        await standby.close()
        return {
            "drained": self._backlog / took,
            "live": len(draining) * LIVE_COUNT / took,
            "healthy": 1 / _p99(healthy),
            "draining": 1 / _p99(draining),
        }


class _Phase:
    """Live traffic at a steady rate and readers, for a time or until a backlog of the standby is gone."""

    def __init__(self, queue: Queue, live_per_s: int) -> None:
        self._queue = queue
        self._every_s = LIVE_COUNT / live_per_s
        self._batch = batches(1_024, 1)[0][:LIVE_COUNT]
        self._over = asyncio.Event()
        self._left: float = inf

    async def run(self, readers: Sequence[Reader], *, seconds: float = inf, backlog: float = inf) -> list[float]:
        """How long each live send took, counted from when it was due."""
        self._left = backlog
        if seconds < inf:
            asyncio.get_running_loop().call_later(seconds, self._over.set)
        sends, _ = await asyncio.gather(self._live(), asyncio.gather(*map(self._read, readers)))
        return sends

    async def _live(self) -> list[float]:
        begin = time.perf_counter()
        took: list[float] = []
        for number in count():
            if self._over.is_set():
                break
            due = begin + number * self._every_s
            await asyncio.sleep(due - time.perf_counter())
            await self._queue.append(self._batch)
            took.append(time.perf_counter() - due)
        return took

    async def _read(self, reader: Reader) -> None:
        while not self._over.is_set():
            found = await reader.read(count_max=500, wait_ms=50)
            await reader.ack(found)
            self._left -= sum(delivery.position.via[0] == "standby" for delivery in found)
            if self._left <= 0:
                self._over.set()


def _p99(took: Sequence[float]) -> float:
    return statistics.quantiles(took, n=100)[98]
