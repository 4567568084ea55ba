"""A reader over the readers of several queues."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, Damaged, Unavailable, Uncertain
from evermq.ha.leg import Leg
from evermq.ha.pace import Pace
from evermq.ha.together import close_all, together
from evermq.port import Delivery, Queue, Reader, Start

__all__ = ["Merged"]

_OPEN_MS_MAX = 800


class Merged:
    """See `Reader`. Every child that is not paused is polled all the time, so one that is slow or gone stops no other.

    What a child yields while nobody reads waits here, at most one read of each child; closing gives it back. A child's
    reader is read and acknowledged at the same time. An error of a child that is neither Unavailable nor Uncertain is
    raised, once nothing else is there to be returned; Damaged at once, since a child tells it once and goes on. pace:
    how fast all but the first are read.
    """

    def __init__(
        self,
        children: Mapping[str, Queue],
        group: str,
        *,
        start: Start = Start.OLDEST,
        pace: Pace | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        first = next(iter(children), None)
        self._legs = [Leg(key, queue, group, start, clock, key == first, pace) for key, queue in children.items()]
        self._clock = clock
        self._surplus: list[Delivery] = []
        self._errors: dict[str, Exception] = {}  # of each leg the last, until it is raised
        self._damaged: list[Damaged] = []
        self._paused: frozenset[str] = frozenset()
        self._resumed = asyncio.Event()
        self._ending = Ending()
        self.closed = False

    @classmethod
    async def open(
        cls,
        children: Mapping[str, Queue],
        group: str,
        *,
        start: Start = Start.OLDEST,
        open_ms_max: int = _OPEN_MS_MAX,
        pace: Pace | None = None,
        clock: Clock = SYSTEM,
    ) -> Merged:
        """Make the group on every child that answers in time; the others follow when they do."""
        merged = cls(children, group, start=start, pace=pace, clock=clock)
        opening = [asyncio.ensure_future(leg.open()) for leg in merged._legs]
        try:
            await asyncio.wait(opening, timeout=open_ms_max / 1000)
            for task in opening:
                task.cancel()
            for result in await asyncio.gather(*opening, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, Unavailable | Uncertain):
                    raise result
        except BaseException:
            for task in opening:
                task.cancel()
            await merged.close()
            raise
        return merged

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        self._check()
        if not self._surplus:
            for leg in self._legs:
                if leg.task is None and leg.key not in self._paused:
                    leg.task = asyncio.create_task(leg.poll(count_max))
            if any(leg.task for leg in self._legs):
                await self._wait(wait_ms)
            else:
                await self._wait_to_resume(wait_ms)
        if self._damaged:
            raise self._damaged.pop(0)
        found, self._surplus = self._surplus[:count_max], self._surplus[count_max:]
        if not found and self._errors:
            raise self._errors.popitem()[1]
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        await together([reader.ack(mine) for reader, mine in self._by_reader(deliveries)])

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        parts = self._by_reader([*deliveries, *self.take_behind(deliveries)])
        await together([reader.release(mine, delay_ms=delay_ms) for reader, mine in parts])

    def pause(self, keys: Collection[str]) -> list[Delivery]:
        """See `evermq.settling.Pausable`. What a poll brings that is ended by this comes with the next call."""
        before, self._paused = self._paused, frozenset(keys)
        if before - self._paused:
            self._resumed.set()
        for leg in self._legs:
            if leg.task and leg.key in self._paused - before:
                leg.task.cancel()
        self._collect()
        back = [each for each in self._surplus if each.receipt[0].key in self._paused]
        if back:
            self._surplus = [each for each in self._surplus if each.receipt[0].key not in self._paused]
        return back

    @property
    def openings(self) -> dict[str, int]:
        """See `evermq.settling.Reopens`."""
        return {leg.key: leg.openings for leg in self._legs}

    async def close(self) -> None:
        self.closed = True
        self._surplus.clear()
        await self._ending.reach(lambda: close_all(self._legs))

    async def _wait_to_resume(self, wait_ms: int) -> None:
        self._resumed.clear()
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._resumed.wait()
        except TimeoutError:
            pass

    async def _wait(self, wait_ms: int) -> None:
        """Until something is found, or nobody is left who could; one that fails keeps nobody from waiting."""
        until_ms = self._clock.monotonic_ms() + wait_ms
        while not (self._surplus or self._damaged) and (waiting := [leg.task for leg in self._legs if leg.task]):
            left_ms = max(0, until_ms - self._clock.monotonic_ms())
            done, _ = await asyncio.wait(waiting, timeout=left_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
            self._check()
            self._collect()
            if not done:
                return

    def _collect(self) -> None:
        """Take over what the legs have found."""
        for leg in self._legs:
            if leg.task and leg.task.done():
                task, leg.task = leg.task, None
                error = None if task.cancelled() else task.exception()
                if isinstance(error, Damaged):
                    self._damaged.append(error)
                elif isinstance(error, Exception):
                    self._errors[leg.key] = error
                elif not task.cancelled():
                    self._errors.pop(leg.key, None)
                    self._surplus += task.result()

    def take_behind(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """See `evermq.settling.Ahead`: a child that keeps order releases these as well."""
        self._collect()
        keys = {(*delivery.receipt[:2], delivery.message.key) for delivery in deliveries if delivery.message.key}
        behind: list[Delivery] = []
        rest: list[Delivery] = []
        for waiting in self._surplus:
            (behind if (*waiting.receipt[:2], waiting.message.key) in keys else rest).append(waiting)
        self._surplus = rest
        return behind

    def _by_reader(self, deliveries: Sequence[Delivery]) -> list[tuple[Reader, list[Delivery]]]:
        parts: dict[Leg, list[Delivery]] = {leg: [] for leg in self._legs}
        for delivery in deliveries:
            leg, opening, inner = delivery.receipt
            # What another reader holds, or a child's earlier one held, is not settled here: its place may be another's.
            if leg in parts and opening == leg.openings:
                parts[leg].append(inner)
        return [(leg.reader, mine) for leg, mine in parts.items() if leg.reader and mine]

    def _check(self) -> None:
        if self.closed:
            raise Closed("this reader was closed: open another one")
