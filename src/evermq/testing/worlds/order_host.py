"""A host of a simulated ladder: slots that outlive their processes, and the ladder that ends in one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evermq.errors import EvermqError, Overloaded, Partial, Rejected, Uncertain
from evermq.ha.failover import Choice, Failover
from evermq.message import Message
from evermq.numbers import void_of
from evermq.port import Queue, Reader, Start
from evermq.position import Position
from evermq.testing.simulation.clock import SimulatedClock
from evermq.traits import Traits

__all__ = ["Ladder", "SimulatedSlot"]


class SimulatedSlot:
    """See `Slot`. items: what was appended, of which `pumped` have been carried up."""

    is_named = True

    def __init__(self, name: str, clock: SimulatedClock) -> None:
        self.name = name
        self.incarnation = 1
        self.items: list[Message] = []
        self.pumped = 0
        self.is_lost = False
        self.is_full = False
        self.dead: list[Message] = []
        self._clock = clock
        self._cells: dict[int, bytearray] = {}

    @property
    def is_empty(self) -> bool:
        return self.pumped == len(self.items)

    async def take(self) -> SimulatedSlot:
        """It is nobody else's."""
        return self

    def memory(self, size_bytes: int) -> memoryview:
        return memoryview(self._cells.setdefault(size_bytes, bytearray(size_bytes)))

    def forget(self) -> None:
        """Zeros again, under the same incarnation: what a slot must never do."""
        self._cells.clear()

    async def pump(self, order: Callable[[], Sequence[Queue]]) -> None:
        """Carry up in order, one batch at a time, into the first rung that takes it, as the order then is."""
        while not self.is_lost:
            await self._clock.sleep(20 + 40 * self._clock.random.random())
            batch = self.items[self.pumped : self.pumped + self._clock.random.choice((1, 2, 4))]
            for message in batch:
                if not await self._carry(message, order()):
                    break
                self.pumped += 1

    async def _carry(self, message: Message, rungs: Sequence[Queue]) -> bool:
        for rung in rungs:
            if self.is_lost:
                return False
            try:
                await rung.append([message])
                return True
            except Partial as error:
                if isinstance(error.outcomes[0], Rejected):
                    self.dead.append(message)
                    nothing = void_of(message)
                    assert nothing
                    message = nothing
        return False


class Ladder:
    """See `Queue`: a Failover over rungs, and below them the producer's slot, sticky while it is not empty."""

    def __init__(
        self, rungs: Mapping[str, Queue], slot: SimulatedSlot | None, clock: SimulatedClock, choice: Choice
    ) -> None:
        self.failover = Failover(**rungs, choice=choice, append_ms_max=200, clock=clock)  # type: ignore[arg-type]
        self._slot = slot
        self._clock = clock

    @property
    def name(self) -> str:
        return self.failover.name

    @property
    def traits(self) -> Traits:
        return self.failover.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        assert self._slot
        if self.is_sticky():
            return self._settled([await self._keep(message, None) for message in messages])
        try:
            return await self.failover.append(messages)
        except Partial as error:
            outcomes: Sequence[Position | EvermqError] = error.outcomes
        except EvermqError as error:
            outcomes = [error] * len(messages)
        settled: list[Position | EvermqError] = []
        for message, outcome in zip(messages, outcomes, strict=True):
            is_final = isinstance(outcome, Position | Rejected)
            settled.append(outcome if is_final else await self._keep(message, outcome))
        return self._settled(settled)

    def is_sticky(self) -> bool:
        """Whether the slot has to be emptied first."""
        return self._slot is not None and not self._slot.is_empty

    async def cut(self, share: float) -> None:
        """The process is gone: this share of what it had on the wires never arrives."""
        left = [*self.failover._unwatched.values(), *self.failover._late.values()]
        for append in [append for appends in left for append in appends]:
            if self._clock.random.random() < share:
                append.cancel()

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return await self.failover.reader(group, start=start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self.failover.backlog(group, lane)

    async def close(self) -> None:
        await self.failover.close()

    async def _keep(self, message: Message, heard: Position | EvermqError | None) -> Position | EvermqError:
        assert self._slot
        if self._slot.is_full:
            return heard if isinstance(heard, Uncertain) else Overloaded("the disk is full")
        self._slot.items.append(message)
        return Position("0", len(self._slot.items) - 1, ("last",))

    def _settled(self, outcomes: list[Position | EvermqError]) -> Sequence[Position]:
        if any(isinstance(outcome, EvermqError) for outcome in outcomes):
            raise Partial(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Position)]
