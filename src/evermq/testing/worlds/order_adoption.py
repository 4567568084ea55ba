"""Producers without a name: one that is killed begins again in another slot, while others of its host carry up what it
left in its own. The last rung is the real one, over slots that outlive their processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from evermq.errors import Closed
from evermq.ha.failover import Choice, Failover
from evermq.ha.host_rung import HostRung
from evermq.ha.retained import Retained
from evermq.message import Message
from evermq.numbering import in_flight
from evermq.policy.ordered import Ordered
from evermq.port import Queue, Reader, Start
from evermq.position import Position
from evermq.slot import HeldSlot, Slot
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_host import Ladder
from evermq.testing.worlds.order_plans import ADOPTED
from evermq.testing.worlds.order_rung import Rung
from evermq.traits import Traits

__all__ = ["WORLDS", "AdoptingLadder", "AdoptionRun", "Disk", "Slots"]

_PUMP = "pump"
_PRODUCERS = 3


@dataclass(slots=True, eq=False)
class Disk:
    """What of a slot outlives its process. holder: who has it locked."""

    name: str
    log: Rung
    memory: bytearray
    holder: Slots | None = None
    is_empty: bool = True
    adoptions: int = 0

    @property
    def left(self) -> int:
        return self.log.left(_PUMP)


class Slots:
    """See `Slots`: of one process. window: how much of a log a reader may have at a time."""

    def __init__(self, disks: list[Disk], clock: SimulatedClock, window: int = 100) -> None:
        self._disks = disks
        self._window = window
        self._clock = clock
        self._own: _Held | None = None
        self.readers: list[Reader] = []
        self.is_gone = False

    @property
    def traits(self) -> Traits:
        return self._new_log("").traits

    async def own(self) -> HeldSlot:
        if self._own is None:
            disk = next((disk for disk in self._disks if disk.holder is None), None)
            if disk is None:
                name = f"slot-{len(self._disks)}"
                disk = Disk(name, self._new_log(name), bytearray())
                self._disks.append(disk)
            disk.holder = self
            self._own = _Held(disk, self)
        return self._own

    async def orphan(self) -> HeldSlot | None:
        for disk in self._disks:
            if disk.holder is None and (not disk.is_empty or in_flight(memoryview(disk.memory))):
                disk.holder = self
                disk.adoptions += 1
                return _Held(disk, self)
        return None

    async def backlog(self, group: str) -> int:
        return sum(disk.left for disk in self._disks)

    async def end(self) -> None:
        """Nothing that is still under way in this process has an effect on its slots."""
        self.is_gone = True
        for reader in self.readers:
            await reader.close()

    async def close(self) -> None:
        """The kernel frees its locks."""
        for disk in self._disks:
            if disk.holder is self:
                disk.holder = None

    def _new_log(self, name: str) -> Rung:
        return Rung(name, self._clock, lanes=1, window=self._window, prefix=True)


class _Held:
    """See `HeldSlot`. What a process does that is gone has no effect."""

    incarnation = 1
    is_named = is_wanted = False

    def __init__(self, disk: Disk, process: Slots) -> None:
        self._disk = disk
        self._process = process
        self.name = disk.name

    @property
    def is_empty(self) -> bool:
        return self._disk.is_empty

    def memory(self, size_bytes: int) -> memoryview:
        if len(self._disk.memory) < size_bytes:
            self._disk.memory = self._disk.memory + bytes(size_bytes - len(self._disk.memory))
        return memoryview(self._disk.memory)

    def mark(self, *, empty: bool) -> None:
        if not self._process.is_gone:
            self._disk.is_empty = empty

    async def queue(self) -> Queue:
        return _Opened(self._disk.log, self._process)

    async def groups(self) -> Collection[str]:
        return [*self._disk.log.groups]

    async def release(self) -> None:
        if self._disk.holder is self._process:
            self._disk.holder = None


class _Opened:
    """See `Queue`: the log of a slot as one process has it open."""

    def __init__(self, log: Rung, process: Slots) -> None:
        self._log = log
        self._process = process
        self.name = log.name
        self.traits = log.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        if self._process.is_gone:
            raise Closed("its process is gone")
        return await self._log.append(messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        if self._process.is_gone:
            raise Closed("its process is gone")
        reader = await self._log.reader(group, start=start)
        self._process.readers.append(reader)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._log.backlog(group, lane)

    async def close(self) -> None:
        """Readers close themselves."""


class AdoptingLadder(Ladder):
    """As applications have it, with the host's own last rung."""

    def __init__(self, rungs: Mapping[str, Queue], disks: list[Disk], clock: SimulatedClock, choice: Choice) -> None:
        super().__init__(rungs, None, clock, choice)
        self._slots = Slots(disks, clock)
        self._copies: list[tuple[Retained, Slots]] = []
        self._host = HostRung(self._slots, name="orders", clock=clock)
        self.failover = Failover(**rungs, last=self._host, choice=choice, append_ms_max=200, clock=clock)  # type: ignore[arg-type]
        self.failover.keeps_order = True
        self.failover.start()

    async def take(self) -> Slot:
        """The slot of this process."""
        return await self._host.slot()

    def retain(self, key: str, copies: Retained, slots: Slots) -> None:
        """Keep copies of what this rung acknowledges, in these slots."""
        self._copies.append((copies, slots))
        self.failover.retain(key, copies)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await self.failover.append(messages)

    async def cut(self, share: float) -> None:
        """With its pumps; its locks are free when all of it is gone."""
        await super().cut(share)
        held = [self._slots, *(slots for _, slots in self._copies)]
        for slots in held:
            await slots.end()
        pump = self._host._pump
        tasks = [*self._host._tasks, pump._task if pump else None, *(copies._task for copies, _ in self._copies)]
        under_way = [task for task in tasks if task]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for slots in held:
            await slots.close()


class AdoptionRun(Run):
    """One seed."""

    def queues(self) -> list[Callable[[], Queue]]:
        """All on one host."""
        self.disks: list[Disk] = []
        return [self._adopting for _ in range(_PRODUCERS)]

    def _adopting(self) -> Ordered:
        ladder = AdoptingLadder(self.rungs, self.disks, self.clock, self.choice)
        return self.ordered(ladder, ladder.take, "")

    async def play(self) -> None:
        for producer in self.producers:
            producer.is_named = False
        await super().play()

    def judge(self, result: WorldResult) -> None:
        super().judge(result)
        result.seen["adopted"] += (adopted := sum(disk.adoptions for disk in self.disks))
        if not adopted and not result.failures:
            result.invalid.append("no slot was adopted")

    def _left(self) -> list[str]:
        return super()._left() + [f"{disk.left} in {disk.name}" for disk in self.disks if disk.left]


WORLDS = (
    World(
        "order-adopted",
        "killed producers begin in other slots, and theirs are carried up by others",
        partial(play, ADOPTED, plan_run=AdoptionRun),
    ),
)
