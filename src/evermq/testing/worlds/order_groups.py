"""Groups come and go while others read: one is added at the oldest message, and one is removed, at any time."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any

from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.world import World
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_plans import GROUPS, Plan

__all__ = ["WORLDS", "GroupsRun"]

_ADDED = "stock"
_REMOVED = "archive"
_BOOT_MS_MAX = 600  # by then a consumer that was killed has begun again


class GroupsRun(Run):
    """One seed. What is added must handle everything, in order; what is removed, nothing twice or out of order."""

    def __init__(self, plan: Plan, clock: SimulatedClock) -> None:
        super().__init__(plan, clock)
        self.partly.append(_REMOVED)
        self._leaving = [self._consumer(f"{_REMOVED}-{number}", _REMOVED) for number in range(2)]
        self.consumers += self._leaving

    def _troubles(self) -> list[Coroutine[Any, Any, None]]:
        return [*super()._troubles(), self._some_time(self._add_group), self._some_time(self._remove_group)]

    async def _add_group(self) -> None:
        added = [self._consumer(f"{_ADDED}-{number}", _ADDED) for number in range(2)]
        self.whole.append(_ADDED)
        self.record.seen["sent before the group was added"] += self._count("send_ok", "")
        self.consumers += added
        for consumer in added:
            consumer.boot()

    async def _remove_group(self) -> None:
        """Its consumers end, and then its place on each rung is taken away."""
        self.consumers = [consumer for consumer in self.consumers if consumer not in self._leaving]
        await self.clock.sleep(_BOOT_MS_MAX)
        for consumer in self._leaving:
            await consumer.end()
        self.record.seen["handled by the group that was removed"] += self._count("handler_ok", _REMOVED)
        for rung in self.rungs.values():
            rung.remove(_REMOVED)

    def _count(self, ev: str, group: str) -> int:
        return sum(event.ev == ev and event.group == group for event in self.record.events)


WORLDS = (
    World("order-groups", "a group is added, and another one removed", partial(play, GROUPS, plan_run=GroupsRun)),
)
