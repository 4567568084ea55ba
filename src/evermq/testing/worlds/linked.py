"""Order by links and a set of what was handled, beside ours: the same ladder, processes and faults.

Each message has the id of its key's message before it in a header. Readers hold it until that id is in the group's set
of handled ids, in the standby's store, and drop what is in there itself. Ids stay in the set for a while.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from evermq.message import Message
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.world import World
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_host import Ladder, SimulatedSlot
from evermq.testing.worlds.order_plans import PLANS, Plan
from evermq.traits import Traits

__all__ = ["WORLDS", "LinkedRun"]

_LINK = "previous"
_ALWAYS_MS = 10**9
_SHORT_MS = 10_000
_LOOK_MS = 50


class LinkedRun(Run):
    """One seed. stays_ms: how long an id stays in the set of its group."""

    def __init__(self, plan: Plan, clock: SimulatedClock, *, stays_ms: int = _ALWAYS_MS) -> None:
        self.stays_ms = stays_ms
        self.handled: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by group and id, until when
        super().__init__(plan, clock)

    def queue(self, slot: SimulatedSlot | None = None, process: str = "") -> Queue:
        return _Linked(self, Ladder(self.rungs, slot, self.clock, self.choice))

    def settle(self, process: str, delivery: Delivery) -> bool:
        """The mark is apart from the effect."""
        return True

    async def _lose_progress(self) -> None:
        self.handled.clear()
        await super()._lose_progress()


class _Linked:
    """See `Queue`: of one process, which knows the last id of each key for as long as it lives."""

    name = "orders"

    def __init__(self, run: LinkedRun, ladder: Ladder) -> None:
        self._run = run
        self._ladder = ladder
        self._last: dict[bytes, str] = {}

    @property
    def traits(self) -> Traits:
        return self._ladder.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await self._ladder.append([self._link(message) for message in messages])

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return _LinkedReader(self._run, group, await self._ladder.reader(group, start=start))

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._ladder.backlog(group, lane)

    async def close(self) -> None:
        await self._ladder.cut(0.5)

    def _link(self, message: Message) -> Message:
        if message.key is None:
            return message._replace(key=message.id.encode())
        before = self._last.get(message.key)
        self._last[message.key] = message.id
        return message._replace(headers={_LINK: before}) if before else message


class _LinkedReader:
    """See `Reader`."""

    def __init__(self, run: LinkedRun, group: str, inner: Reader) -> None:
        self._run = run
        self._group = group
        self._inner = inner
        self._held: list[tuple[int, Delivery]] = []  # since when
        self._out: set[str] = set()

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        found = await self._inner.read(count_max=count_max, wait_ms=min(wait_ms, _LOOK_MS))
        now_ms = self._run.clock.monotonic_ms()
        self._held += [(now_ms, delivery) for delivery in found]
        await self._run.rungs["standby"].answer()
        handled = {id for id, until_ms in self._run.handled[self._group].items() if until_ms > now_ms}
        await self._inner.ack([delivery for _, delivery in self._held if delivery.message.id in handled])
        waiting, self._held = [each for each in self._held if each[1].message.id not in handled], []
        ready: list[Delivery] = []
        for since_ms, delivery in waiting:
            if len(ready) < count_max and self._may_go(since_ms, delivery.message, handled):
                self._out.add(delivery.message.id)
                ready.append(delivery)
            else:
                self._held.append((since_ms, delivery))
        return ready

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._run.rungs["standby"].answer()
        until_ms = self._run.clock.monotonic_ms() + self._run.stays_ms
        for delivery in deliveries:
            self._run.handled[self._group][delivery.message.id] = until_ms
            self._out.discard(delivery.message.id)
        await self._inner.ack(deliveries)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._out -= {delivery.message.id for delivery in deliveries}
        await self._inner.release(deliveries, delay_ms=delay_ms)

    async def close(self) -> None:
        await self._inner.close()

    def _may_go(self, since_ms: int, message: Message, handled: set[str]) -> bool:
        """Its link is handled, or was waited for for as long as anything is; copies go one after the other."""
        link, longest_ms = message.headers.get(_LINK), self._run.plan.hold_ms_max
        is_old = longest_ms is not None and self._run.clock.monotonic_ms() - since_ms > longest_ms
        return message.id not in self._out and (link is None or link in handled or is_old)


def _world(name: str, what: str, *, hold_ms_max: int | None = None, stays_ms: int = _ALWAYS_MS) -> World:
    plan = replace(PLANS[name][1], hold_ms_max=hold_ms_max)
    run = partial(play, plan, plan_run=partial(LinkedRun, stays_ms=stays_ms))
    return World(f"linked-{name}", f"links and a set of handled ids, under order-{name}: {what}", run, breaks=True)


WORLDS = (
    _world("long-outage", "ids leave the set before their copies come", hold_ms_max=5_000, stays_ms=_SHORT_MS),
    _world("progress-lost", "the set is lost with its store"),
    _world("restarts-unread", "a producer forgets the last ids"),
    _world("late-group", "a group has no ids of what came before it"),
)
