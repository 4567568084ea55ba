"""Progress in memory: for tests, and for a queue whose readers are all in one process and may begin again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Fenced
from evermq.numbers import producer_of
from evermq.port import Delivery
from evermq.settled import Settled
from evermq.settling import Renewed, Report, States

__all__ = ["MemoryPart", "MemoryProgress"]

_SILENT_MS_MAX = 5_000


@dataclass(slots=True)
class _Group:
    """recorded: by lane and stream, numbers that were settled with their effect, until a state includes them."""

    states: dict[int, dict[str, Settled]] = field(default_factory=dict)
    recorded: dict[tuple[int, str], set[int]] = field(default_factory=dict)
    owners: dict[int, MemoryPart] = field(default_factory=dict)
    asking: dict[int, MemoryPart] = field(default_factory=dict)
    parts: list[MemoryPart] = field(default_factory=list)


class MemoryProgress:
    """See `Progress`. silent_ms_max: a reader that is silent for so long loses what it has claimed."""

    def __init__(self, *, silent_ms_max: int = _SILENT_MS_MAX, clock: Clock = SYSTEM) -> None:
        self.silent_ms_max = silent_ms_max
        self.clock = clock
        self._groups: dict[str, _Group] = {}

    async def join(self, group: str) -> MemoryPart:
        return MemoryPart(self, self._groups.setdefault(group, _Group()))

    def settle(self, delivery: Delivery) -> bool:
        """Settle in one step with the effect, which must happen before anything else may run; False: it has happened.

        Raises Fenced where the delivery is another's by now: then the effect must not happen here."""
        ticket = delivery.receipt
        if ticket.lane is None:
            return True
        if not ticket.is_due():
            return False
        try:
            return bool(ticket.lane.part.record(ticket.lane.number, ticket.stream.name, ticket.seq))
        except Fenced:
            ticket.lane.is_doubted = True
            raise

    async def close(self) -> None:
        """Nothing to let go: the memory is the store."""

    def forget(self) -> None:
        """Lose every state, as a store does that is restored from an old copy."""
        for group in self._groups.values():
            group.states.clear()
            group.recorded.clear()


class MemoryPart:
    """See `Part`."""

    def __init__(self, progress: MemoryProgress, group: _Group) -> None:
        self.silent_ms_max = progress.silent_ms_max
        self._progress = progress
        self._group = group
        self._seen_ms = self._heard_ms = self._since_ms = progress.clock.monotonic_ms()
        self._report = Report()
        self._left = False
        self._is_fenced = False  # others took it for gone
        group.parts.append(self)

    async def claim(self, lanes: Collection[int]) -> States:
        self._check()
        self._hear()
        granted: States = {}
        for lane in lanes:
            owner = self._group.owners.get(lane)
            if owner and owner is not self and self._is_gone(owner):
                owner._fence()
                owner = None
            if owner is None or owner is self:
                self._group.owners[lane] = self
                if self._group.asking.get(lane) is self:
                    del self._group.asking[lane]
                granted[lane] = self._packed(lane)
            else:
                asking = self._group.asking.get(lane)
                if asking is None or self._is_gone(asking):
                    self._group.asking[lane] = self
        return granted

    async def give_back(self, lanes: Collection[int]) -> None:
        self._check()
        self._give_back(lanes)

    async def settle(self, states: States) -> None:
        self._check()
        self._check_owned(states)
        for lane, streams in states.items():
            kept = self._group.states.setdefault(lane, {})
            for name, text in streams.items():
                state = kept[name] = Settled.unpack(text)
                if recorded := self._group.recorded.get((lane, name)):
                    recorded.difference_update([seq for seq in recorded if seq in state])

    async def look(self, lanes: Collection[int], streams: Collection[str] | None = None) -> States:
        self._check()
        found = {lane: self._packed(lane) for lane in lanes}
        if streams is None:
            return found
        return {lane: {name: each[name] for name in each.keys() & streams} for lane, each in found.items()}

    async def collect(self, streams: Mapping[int, Collection[str]], day: int) -> Collection[str]:
        self._check()
        self._check_owned(streams)
        kept = self._group.states
        found = [item for streams_of_lane in kept.values() for item in streams_of_lane.items()]
        alive = {producer_of(name) for name, state in found if not state.day or state.day >= day}
        gone = {name for names in streams.values() for name in names if producer_of(name) not in alive}
        for lane, names in streams.items():
            for name in gone.intersection(names):
                kept.get(lane, {}).pop(name, None)
                self._group.recorded.pop((lane, name), None)
        return gone

    async def renew(self, report: Report) -> Renewed:
        self._check()
        self._hear()
        self._seen_ms = self._heard_ms
        if self._is_fenced:
            self._is_fenced = False
            raise Fenced("this reader was silent for so long that others took its lanes")
        self._report = report
        owners = self._group.owners
        asked = [lane for lane, part in self._group.asking.items() if owners.get(lane) is self and part is not self]
        reports = tuple(part._report for part in self._group.parts if not self._is_gone(part))
        return Renewed(frozenset(asked), reports)

    async def leave(self) -> None:
        if not self._left:
            self._left = True
            self._group.parts.remove(self)
            for lane in [lane for lane, part in self._group.asking.items() if part is self]:
                del self._group.asking[lane]
            self._give_back([lane for lane, part in self._group.owners.items() if part is self])

    def _hear(self) -> None:
        """Where this one could not ask for long, the store was away, perhaps for all: nobody was silent then."""
        now_ms = self._progress.clock.monotonic_ms()
        if now_ms - self._heard_ms > self.silent_ms_max / 2:
            self._since_ms = now_ms
        self._heard_ms = now_ms

    def _is_gone(self, other: MemoryPart) -> bool:
        """Whether this one may have what the other one claimed."""
        silent_ms = self._heard_ms - max(other._seen_ms, self._since_ms)
        return other._left or silent_ms > self.silent_ms_max

    def record(self, lane: int, stream: str, seq: int) -> bool:
        """One number is settled; False if it was already. Raises Fenced."""
        if self._group.owners.get(lane) is not self:
            raise Fenced(f"lane {lane} is another reader's by now")
        state = self._group.states.get(lane, {}).get(stream)
        recorded = self._group.recorded.setdefault((lane, stream), set())
        is_new = seq not in recorded and (state is None or seq not in state)
        if is_new:
            recorded.add(seq)
        return is_new

    def _packed(self, lane: int) -> dict[str, str]:
        found = dict(self._group.states.get(lane, {}))
        for (other, stream), recorded in self._group.recorded.items():
            if other == lane and recorded:
                state = found.get(stream)
                found[stream] = merged = Settled.unpack(state.pack()) if state else Settled(floor=min(recorded))
                for seq in sorted(recorded):
                    merged.add(seq)
        return {name: settled.pack() for name, settled in found.items()}

    def _give_back(self, lanes: Collection[int]) -> None:
        """Whoever asked has the lane from now on."""
        for lane in lanes:
            if self._group.owners.get(lane) is self:
                following = self._group.asking.pop(lane, None)
                if following is None or following is self or following._left:
                    del self._group.owners[lane]
                else:
                    self._group.owners[lane] = following

    def _fence(self) -> None:
        """It has nothing any more, and hears of that when it speaks again."""
        self._is_fenced, self._report = True, Report()
        for lane in [lane for lane, part in self._group.owners.items() if part is self]:
            del self._group.owners[lane]

    def _check_owned(self, lanes: Collection[int]) -> None:
        if lost := [lane for lane in lanes if self._group.owners.get(lane) is not self]:
            raise Fenced(f"lanes {lost} are another reader's by now")

    def _check(self) -> None:
        if self._left:
            raise Closed("this reader has left its group")
