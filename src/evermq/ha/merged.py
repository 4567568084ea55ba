"""A reader over the readers of several queues."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, EvermqError, Unavailable, Uncertain
from evermq.port import Delivery, Queue, Reader, Start

__all__ = ["Merged"]

_POLL_MS = 5_000
_PAUSE_MS = 200


@dataclass(slots=True, eq=False)
class _Leg:
    """One child: its reader is opened when it can be, and again when it was lost."""

    key: str
    queue: Queue
    group: str
    start: Start
    clock: Clock
    reader: Reader | None = None
    task: asyncio.Task[list[Delivery]] | None = None

    async def open(self) -> Reader:
        if self.reader is None:
            self.reader = await self.queue.reader(self.group, start=self.start)
        return self.reader

    async def poll(self, count_max: int) -> list[Delivery]:
        """Wait for messages as long as it takes; a child that cannot be read is tried again after a pause."""
        while True:
            try:
                reader = await self.open()
                found = await reader.read(count_max=count_max, wait_ms=_POLL_MS)
            except Closed:
                self.reader = None
                await self.clock.sleep(_PAUSE_MS)
            except (Unavailable, Uncertain):
                await self.clock.sleep(_PAUSE_MS)
            else:
                if found:
                    return [self._wrap(delivery) for delivery in found]

    def _wrap(self, delivery: Delivery) -> Delivery:
        message, position, _, attempt = delivery
        return Delivery(message, position._replace(via=(self.key, *position.via)), (self, delivery), attempt)

    async def close(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if self.reader:
            await self.reader.close()


class Merged:
    """See `Reader`. Every child is polled all the time, so one that is slow or gone stops no other.

    What a child yields while nobody reads waits here, at most one read of each child.
    """

    def __init__(
        self, children: Mapping[str, Queue], group: str, *, start: Start = Start.OLDEST, clock: Clock = SYSTEM
    ) -> None:
        self._legs = [_Leg(key, queue, group, start, clock) for key, queue in children.items()]
        self._surplus: list[Delivery] = []
        self.closed = False

    @classmethod
    async def open(
        cls, children: Mapping[str, Queue], group: str, *, start: Start = Start.OLDEST, clock: Clock = SYSTEM
    ) -> Merged:
        """Make the group on every child that answers; the others follow when they do."""
        merged = cls(children, group, start=start, clock=clock)
        for leg in merged._legs:
            try:
                await leg.open()
            except (Unavailable, Uncertain):
                continue
        return merged

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        self._check()
        if not self._surplus:
            for leg in self._legs:
                if leg.task is None:
                    leg.task = asyncio.create_task(leg.poll(count_max))
            await asyncio.wait(
                [leg.task for leg in self._legs if leg.task],
                timeout=wait_ms / 1000,
                return_when=asyncio.FIRST_COMPLETED,
            )
            self._check()
            self._collect()
        found, self._surplus = self._surplus[:count_max], self._surplus[count_max:]
        return found

    def _collect(self) -> None:
        for leg in self._legs:
            if leg.task and leg.task.done():
                task, leg.task = leg.task, None
                self._surplus += task.result()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        await asyncio.gather(*[reader.ack(mine) for reader, mine in self._by_reader(deliveries)])

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        parts = self._by_reader(deliveries)
        await asyncio.gather(*[reader.release(mine, delay_ms=delay_ms) for reader, mine in parts])

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            results = await asyncio.gather(*[leg.close() for leg in self._legs], return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, EvermqError):
                    raise result

    def _by_reader(self, deliveries: Sequence[Delivery]) -> list[tuple[Reader, list[Delivery]]]:
        parts: dict[int, tuple[Reader, list[Delivery]]] = {}
        for delivery in deliveries:
            leg, inner = delivery.receipt
            if leg.reader and leg in self._legs:  # what another reader holds is its own to settle
                parts.setdefault(id(leg), (leg.reader, []))[1].append(inner)
        return list(parts.values())

    def _check(self) -> None:
        if self.closed:
            raise Closed("this reader was closed: open another one")
