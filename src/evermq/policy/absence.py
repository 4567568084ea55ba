"""The proof that what a held message waits for is nowhere: not a timer, but a search that has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evermq.clock import Clock
from evermq.errors import EvermqError, Fenced, Unavailable, Uncertain
from evermq.policy.gate import ABSENT, Gate
from evermq.policy.lane import Lane, Parked
from evermq.port import Queue
from evermq.settled import Settled
from evermq.settling import COPY, SENT, Bounded, Held, Part, Report, Wanted

__all__ = ["Absence"]

_PATIENCE_MS = 300
_LANES_MAX = 16  # looked at in one turn
_FRESH_MS = 500  # an answer that took longer says what was, not what is
_COPIED_MS = 30_000  # for so long what a sender had a copy of is looked for behind what was read before


@dataclass(slots=True)
class _Search:
    """What was held when it began, where every rung ended then, and which numbers had landed by then."""

    held: list[Parked]
    ends: dict[str, tuple[str, str, int]]
    opened: dict[str, int]
    began_ms: int


class Absence:
    """A message is absent once it is known to have landed, no reader holds it, and every rung was read past it.

    It has landed where a later message says so. A rung was read past it where a message of its stream was read there
    which left when it had landed, or where the lane was read to the end that it had when the search began, or where
    the group has nothing left in the lane. It is passed over by the reader that has claimed the lane, while the
    application has nothing of it, and once the store has said that the claim still holds: a reader that was not heard
    of for a while does not know what another one has settled since. A rung that does not tell its ends, or cannot be
    asked, proves nothing. Where no rung has it and a sender has a copy, it is not passed over: it is asked for.
    Sent again, it is behind what was read: for a while only the ends that the rungs have since prove that it is not.
    """

    patience_ms = _PATIENCE_MS

    def __init__(self, gate: Gate, part: Part, rungs: Mapping[str, Queue], group: str, clock: Clock) -> None:
        self._gate = gate
        self._part = part
        self._rungs = rungs
        self._group = group
        self._clock = clock
        self._next = 0
        self._silent: set[str] = set()  # rungs that did not answer in this turn
        self._wanted: dict[int, dict[str, Wanted]] = {}  # by lane and stream
        self._copied: dict[str, int] = {}  # when a sender last had copies in a stream of what is waited for

    async def prove(self, reports: Sequence[Report], asked_ms: int) -> list[Lane]:
        """Go on with every search; returns the lanes in which something may move now.

        asked_ms: when the readers were asked for these reports. What one had given back, or left behind, when the lane
        was claimed here, is in reports that were asked for later."""
        moved = []
        self._silent.clear()
        old_ms = self._clock.monotonic_ms() - _COPIED_MS
        self._copied = {stream: at_ms for stream, at_ms in self._copied.items() if at_ms > old_ms}
        for lane in self._turn():
            self._wanted.pop(lane.number, None)
            if lane.proof is None:
                lane.proof = await self._begin(lane)
            elif lane.claimed and not lane.out and lane.proof.began_ms < asked_ms:
                past = await self._read_to_the_end(lane.proof, reports)
                if self._absent(lane, past, reports) and not await self.is_claimed([lane]):
                    continue
                if self._conclude(lane, past, reports):
                    moved.append(lane)
        return moved

    @property
    def wanted(self) -> list[Wanted]:
        """What senders are asked for."""
        return [each for found in self._wanted.values() for each in found.values()]

    async def is_claimed(self, lanes: Sequence[Lane]) -> bool:
        """Whether these are this reader's, as the store says just now: by a write that changes nothing."""
        began_ms = self._clock.monotonic_ms()
        try:
            await self._part.settle({lane.number: {} for lane in lanes})
        except (Unavailable, Uncertain, Fenced):
            return False  # the next renewal hears of it
        return self._clock.monotonic_ms() - began_ms < _FRESH_MS

    def _turn(self) -> list[Lane]:
        """Some of the lanes in which something waits, and others the next time: rungs are asked for each."""
        lanes = list(self._gate.lanes.values())
        for lane in lanes:
            if not lane.parked:
                lane.proof = None
        waiting = [lane for lane in lanes if lane.parked]
        if len(waiting) <= _LANES_MAX:
            return waiting
        self._next = (self._next + _LANES_MAX) % len(waiting)
        return (waiting[self._next :] + waiting[: self._next])[:_LANES_MAX]

    async def _begin(self, lane: Lane) -> _Search | None:
        began_ms = self._clock.monotonic_ms()
        old_ms = began_ms - _PATIENCE_MS
        held = [parked for parked in lane.parked if parked.since_ms <= old_ms]
        if not held:
            return None
        if not all(self._is_aligned(parked, lane) for parked in held):
            return None
        opened = {p.number.stream: self._gate.opened(p.number.stream) for p in held}
        ends = {}
        for key, rung in self._rungs.items():
            name = str(lane.number % rung.traits.lanes)
            if not isinstance(rung, Bounded) or key in self._silent:
                return None
            try:
                ends[f"{key}/{name}"] = (key, name, await rung.end(name))
            except EvermqError:
                self._silent.add(key)
                return None
        return _Search(held, ends, opened, began_ms)

    def _is_aligned(self, parked: Parked, lane: Lane) -> bool:
        """Whether a message came from the lane of its rung in which its number would be looked for."""
        _, (name, _, via), *_ = parked.delivery
        rung = self._rungs.get(via[0]) if via else None
        return rung is None or name == str(lane.number % rung.traits.lanes)

    async def _read_to_the_end(self, search: _Search, reports: Sequence[Report]) -> set[str]:
        """The rungs whose lane was read to the end that it had."""
        past = set()
        for place, (key, name, end) in search.ends.items():
            if (
                end == 0
                or max((report.at.get(place, 0) for report in reports), default=0) >= end
                or (key not in self._silent and await self._is_through(key, name))
            ):
                past.add(key)
        return past

    async def _is_through(self, key: str, name: str) -> bool:
        """Whether the group has nothing left in a lane of a rung."""
        try:
            return await self._rungs[key].backlog(self._group, name) == 0
        except EvermqError:
            self._silent.add(key)
            return False

    def _held(self, reports: Sequence[Report]) -> set[Held]:
        return {each for report in reports for each in report.held} | self._gate.held(self._clock.monotonic_ms())

    def _absent(self, lane: Lane, past: set[str], reports: Sequence[Report]) -> dict[str, Parked]:
        """By stream, what may go on, since what is before it is nowhere. The lane may have moved while others were
        asked."""
        found: dict[str, Parked] = {}
        search: _Search | None = lane.proof
        if not lane.claimed or lane.out or search is None:
            return found
        held = self._held(reports)
        for parked in lane.parked:
            stream, prev = parked.number.stream, parked.number.prev
            known = lane.streams.get(stream)
            if known is None or known.has(prev) or stream in found or prev >= self._gate.opened(stream):
                continue
            others = [each for each in held if each.stream == stream]
            mine = [each for each in others if not each.last and each.seq not in known.settled]
            if any(each.seq < parked.number.seq for each in mine):
                continue  # of its bucket, perhaps: it goes first
            read = {each.rung for each in mine if each.open > prev}
            if parked in search.held and prev < search.opened.get(stream, 0):
                read |= past
            copies = _copies_before(parked.number.seq, COPY, others, known.settled)
            if copies or (
                stream not in self._copied and _copies_before(parked.number.seq, SENT, others, known.settled)
            ):
                self._copied[stream] = self._clock.monotonic_ms()
            if not read >= self._rungs.keys():
                continue
            if copies:
                self._wanted.setdefault(lane.number, {})[stream] = Wanted(stream, copies[0], copies[-1])
            elif stream not in self._copied or (past >= self._rungs.keys() and search.began_ms > self._copied[stream]):
                found[stream] = parked
        return found

    def _conclude(self, lane: Lane, past: set[str], reports: Sequence[Report]) -> bool:
        """Pass over what is nowhere."""
        found, held = self._absent(lane, past, reports), self._held(reports)
        for stream, parked in found.items():
            numbers = {number for each in held if each.stream == stream for number in each.numbers}
            self._gate.pass_over(lane, parked, ABSENT, numbers)
        if found or past >= self._rungs.keys():
            lane.proof = None  # what is still held needs another search
        return bool(found)


def _copies_before(seq: int, kind: str, others: Iterable[Held], settled: Settled) -> list[int]:
    """What senders have copies of that a number may be waiting for."""
    numbers = {number for each in others if each.last and each.rung == kind for number in each.numbers}
    return sorted(number for number in numbers if number < seq and number not in settled)
