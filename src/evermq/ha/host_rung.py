"""The last rung of a ladder: a log on this host, pumped back into the rungs above as soon as one takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Unsupported
from evermq.ha.pump import Pump, PumpCounts
from evermq.ha.together import close_all
from evermq.message import Message
from evermq.numbering import land_all, voids_in_flight
from evermq.numbers import void_of
from evermq.port import Queue, Reader, Start
from evermq.position import Position
from evermq.slot import HeldSlot, Slots
from evermq.traits import Traits

__all__ = ["HostRung"]

_GROUP = "pump"
_LOOK_MS = 50  # at whether the slot is empty
_ADOPT_MS = 1_000  # between two looks for slots whose process is gone
_HOLD_MS_MAX = 500  # how long an append waits for the pump to come away from it
_DOOR_PAUSE_MS = 2_000  # between two times in which everything waits for the slot to be empty
_LIVE_SHARE = 0.75  # of what the pump carries may be appended behind it
_LANES = 65_536  # a ladder has as many as its other rungs


@dataclass(slots=True)
class _Pace:
    """Holds a producer below the pump while that carries, so that the slot empties; not while it cannot carry."""

    carried: int = 0
    fresh: int = 0
    room: float = 0

    @property
    def is_carrying(self) -> bool:
        return self.fresh > 0

    def look(self, carried: int) -> None:
        """Called from time to time with all that was ever carried."""
        self.fresh = carried - self.carried
        self.carried = carried
        self.room = min(self.room, 0) + _LIVE_SHARE * self.fresh


class _Door:
    """Closed for a moment once the pump has nearly caught up: where one append follows the other without a pause, the
    slot would never be seen empty."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open = asyncio.Event()
        self._open.set()
        self._until_ms = 0  # while it is closed the longest, then how long it stays open

    def open(self) -> None:
        self._open.set()

    def look(self, left: int, fresh: int) -> None:
        """left: in the slot; fresh: what the pump has carried since the last look."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._until_ms:
            return
        if not self._open.is_set():
            self._open.set()
            self._until_ms = now_ms + _DOOR_PAUSE_MS
        elif left <= 2 * fresh:
            self._open.clear()
            self._until_ms = now_ms + _HOLD_MS_MAX

    async def wait(self) -> None:
        await self._open.wait()


class HostRung:
    """See `Queue`, but it is not read: what is appended here goes up, in order, and is read there.

    slots: of the host; this process appends to its own, and empties those whose processes are gone. dead: takes what
    the rungs above all refuse for ever; where such a message had a number, a void goes up in its place. The ladder that
    has it as `last` says where up is. counts: of the pump of the own slot, `adopted` of slots that others left.
    error: the last thing that went wrong beside the appends.

    While the own slot holds anything it is appended to (`is_empty`): nothing overtakes it. Killed, a process leaves
    its slot to the others of this host that have the topic open; a host that is lost takes with it what only its slots
    held.
    """

    def __init__(self, slots: Slots, *, name: str, dead: Queue | None = None, clock: Clock = SYSTEM) -> None:
        self._slots = slots
        self._dead = dead
        self._clock = clock
        self.name = name
        self.counts = PumpCounts()
        self.adopted = 0
        self._dead_of_others = 0
        self.error = ""
        self._target: Queue | None = None
        self._slot: HeldSlot | None = None
        self._queue: Queue | None = None
        self._pump: Pump | None = None
        self._begun = self._ended = 0  # appends
        self._pace = _Pace()
        self._door = _Door(clock)
        self._opening = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._ending = Ending()

    @property
    def traits(self) -> Traits:
        return replace(self._slots.traits, lanes=_LANES, replay=False)

    @property
    def is_empty(self) -> bool:
        """Whether everything that this process appended here has gone up."""
        return self._slot is None or self._slot.is_empty

    @property
    def dead_count(self) -> int:
        """Messages that this process has put to the dead letters, from its own slot and from those of others."""
        return self.counts.dead + self._dead_of_others

    async def turn(self) -> None:
        """What may go to another rung once the slot is empty waits here, for half a second at most, where that is about
        to be the case."""
        if not self.is_empty:
            await self._door.wait()

    async def slot(self) -> HeldSlot:
        """The slot of this process."""
        if self._slot is None:
            self._slot = await self._slots.own()
        return self._slot

    def start(self, target: Queue) -> None:
        """Carry to `target` from now on; again is harmless."""
        if self._target is None:
            self._target = target
            self._tasks = [asyncio.create_task(self._adopt_all()), asyncio.create_task(self._resume())]
            if self._queue:
                self._carry(self._queue)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        queue = await self._open()
        if self._pace.is_carrying:
            await self._hold(len(messages))
        slot = await self.slot()
        self._begun += 1
        try:
            slot.mark(empty=False)
            return await queue.append(messages)
        finally:
            self._ended += 1

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        raise Unsupported(f"the last rung of {self.name} is pumped, not read: read the ladder")

    async def backlog(self, group: str, lane: str | None = None) -> int:
        """What has still to go up, from all slots of the host, whatever the group: it will have it all to read."""
        if lane is not None:
            return 0
        return await self._slots.backlog(_GROUP)

    async def close(self) -> None:
        """Stop the pump; what has not gone up waits in the slot."""
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pump:
            await self._pump.close()
            await self._look()
        await close_all([*([self._queue] if self._queue else []), *([self._dead] if self._dead else [])])
        await self._slots.close()

    async def _open(self) -> Queue:
        """The log of the own slot, with its pump."""
        async with self._opening:
            if self._queue is None:
                slot = await self.slot()
                queue = await slot.queue()
                await (await queue.reader(_GROUP)).close()  # made before the first message, so that none is kept
                self._queue = queue
                self._carry(queue)
            return self._queue

    def _carry(self, queue: Queue) -> None:
        if self._target and self._pump is None:
            self._pump = self._pump_of(queue)
            self.counts = self._pump.counts
            self._pump.start()
            self._tasks.append(asyncio.create_task(self._watch()))

    def _pump_of(self, queue: Queue) -> Pump:
        assert self._target
        return Pump(queue, self._target, group=_GROUP, dead=self._dead, void_of=void_of, clock=self._clock)

    async def _resume(self) -> None:
        """What an earlier process left in the own slot goes up without an append."""
        while not self._closed:
            try:
                if not (await self.slot()).is_empty:
                    await self._open()
                return
            except Exception as error:
                self.error = repr(error)
                await self._clock.sleep(_ADOPT_MS)

    async def _watch(self) -> None:
        try:
            while True:
                await self._clock.sleep(_LOOK_MS)
                self._pace.look(self.counts.carried)
                left = 0 if self.is_empty else await self._look()
                if self.is_empty:
                    self._door.open()
                elif left is not None:
                    self._door.look(left, self._pace.fresh)
        finally:
            self._door.open()

    async def _look(self) -> int | None:
        """Mark the slot as empty once it is, and nothing came into it while it was asked. What is left, None where that
        is not known."""
        assert self._queue
        assert self._slot
        ended = self._ended
        try:
            left = await self._queue.backlog(_GROUP)
        except Exception as error:  # a watch that ended without a word would leave the slot full for ever
            self.error = repr(error)
            return None
        if not left and self._begun == ended:
            self._slot.mark(empty=True)
        return left

    async def _hold(self, count: int) -> None:
        until_ms = self._clock.monotonic_ms() + _HOLD_MS_MAX
        while self._pace.is_carrying and self._pace.room <= 0 and self._clock.monotonic_ms() < until_ms:
            await self._clock.sleep(_LOOK_MS // 5)
        self._pace.room -= count

    async def _adopt_all(self) -> None:
        while not self._closed:  # an error of cleaning up hides a cancellation
            try:
                while slot := await self._slots.orphan():
                    try:
                        await self._empty(slot)
                    finally:
                        await slot.release()
            except Exception as error:  # it stays an orphan: the next look finds it again
                self.error = repr(error)
            await self._clock.sleep(_ADOPT_MS)

    async def _empty(self, slot: HeldSlot) -> None:
        """Carry up all that a slot holds, and a void for each number that its producer took with it."""
        queue = await slot.queue()
        pump = self._pump_of(queue)
        pump.start()
        try:
            while await queue.backlog(_GROUP):
                if slot.is_wanted:
                    return
                await self._clock.sleep(_LOOK_MS)
        finally:
            await pump.close()
            self._dead_of_others += pump.counts.dead
            await queue.close()
        slot.mark(empty=True)
        self.adopted += 1
        if not slot.is_named:
            await self._void(slot)

    async def _void(self, slot: HeldSlot) -> None:
        assert self._target
        memory = slot.memory(0)
        if voids := voids_in_flight(memory):
            step = self._target.traits.batch_count_max
            for first in range(0, len(voids), step):
                await self._target.append(voids[first : first + step])
            land_all(memory)
