"""The proof that what a held message waits for is nowhere: not a timer, but a search that has ended."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from evermq.clock import Clock
from evermq.errors import EvermqError, Fenced, Unavailable, Uncertain
from evermq.numbers import lanes_of_stream
from evermq.policy.gate import ABSENT, Gate
from evermq.policy.lane import Lane, Stream
from evermq.policy.read_to import places
from evermq.policy.waiting import Parked
from evermq.port import Queue
from evermq.settled import Settled
from evermq.settling import COPY, SENT, Bounded, Held, Part, Report, Wanted

__all__ = ["Absence"]

_PATIENCE_MS = 300
_LANES_MAX = 16  # looked at in one turn
_FEW = 1_000  # what is left of a lane is compared one by one with what is held
_FRESH_MS = 500  # an answer that took longer says what was, not what is
_Told = dict[str, list[Held]]
_COPIED_MS = 30_000  # for so long what a sender had a copy of is looked for behind what was read before


@dataclass(slots=True)
class _Search:
    """What was held when it began, where every rung ended then, and which numbers had landed by then. anew: places to
    whose end nobody has read for certain, since somebody says that he has read further."""

    held: set[Parked]
    ends: dict[str, tuple[str, str, int]]
    opened: dict[str, int]
    anew: set[str]
    began_ms: int


@dataclass(slots=True)
class _About:
    """A stream: which numbers had landed by now, who holds what of it, and the lowest of those that is not settled.
    together: the rungs of which one lane has all of the stream."""

    known: Stream
    opened: int
    held: list[Held]
    lowest: int
    together: set[str]

    def read_past(self, seq: int) -> set[str]:
        """The rungs on which something was read that left when this number had landed, and so lies behind it."""
        settled = self.known.settled
        past = {each.rung for each in self.held if each.open > seq and each.numbers[-1] not in settled}
        return past & self.together


class Absence:
    """A message is absent once it is known to have landed, no reader holds it, and every rung was read past it.

    It has landed where a later message says so. A rung was read past it where a message of its stream was read there
    which left when it had landed, or where the lane was read to the end that it had when the search began, or where
    the group has nothing left in the lane but what the reader itself holds. Where a producer did not know how many
    lanes a rung has, its streams are all over that rung, and all of its lanes have to be read so.

    It is passed over by the reader that has claimed the lane, while the application has nothing of it, and once the
    store has said that the claim still holds: a reader that was not heard of for a while does not know what another one
    has settled since. A rung that does not tell its ends, or cannot be asked, proves nothing. Where no rung has it and
    a sender has a copy, it is not passed over: it is asked for. Sent again, it is behind what was read: for a while
    only the ends that the rungs have since prove that it is not.
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
        told = _by_stream(each for report in reports for each in report.held)
        for lane in self._turn():
            self._wanted.pop(lane.number, None)
            if lane.proof is None:
                known = lane.streams
                search = await self._begin(lane, reports)
                if lane.streams is known:  # claimed meanwhile, the lane needs a search that begins after the claim
                    lane.proof = search
            elif lane.claimed and not lane.out and lane.proof.began_ms < asked_ms:
                past = await self._read_to_the_end(lane.proof, reports)
                found = self._absent(lane, past, told)
                if found and not (await self._are_ends_told(lane) and await self.is_claimed([lane])):
                    continue
                if self._conclude(lane, past, told, {parked for parked, _ in found.values()}):
                    moved.append(lane)
        return moved

    async def _are_ends_told(self, lane: Lane) -> bool:
        """Whether no rung has changed its lanes since the search began: what was read of a new one says nothing of what
        is left in an old one. Asked after what was read was looked at."""
        try:
            for key, name in {key: name for key, name, _ in lane.proof.ends.values()}.items():
                rung = self._rungs[key]
                assert isinstance(rung, Bounded)
                await rung.end(name)
        except EvermqError:
            lane.proof = None
        return lane.proof is not None

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
                self._wanted.pop(lane.number, None)
        waiting = [lane for lane in lanes if lane.parked]
        if len(waiting) <= _LANES_MAX:
            return waiting
        self._next = (self._next + _LANES_MAX) % len(waiting)
        return (waiting[self._next :] + waiting[: self._next])[:_LANES_MAX]

    async def _begin(self, lane: Lane, reports: Sequence[Report]) -> _Search | None:
        began_ms = self._clock.monotonic_ms()
        old_ms = began_ms - _PATIENCE_MS
        held = {parked for parked in lane.parked if parked.since_ms <= old_ms}
        streams = {parked.number.stream for parked in held}
        names = self._names(lane.number, streams)
        if not held or not all(_is_among(parked, names) for parked in held):
            return None
        opened = {stream: self._gate.opened(stream) for stream in streams}
        found = []
        for key, rung in self._rungs.items():
            if not isinstance(rung, Bounded) or key in self._silent:
                return None
            try:
                found += [(key, name, await rung.end(name)) for name in names[key]]
            except EvermqError:
                self._silent.add(key)
                return None
        if names != self._names(lane.number, streams):
            return None  # one that was opened only now has told how many lanes it has
        called = places(self._rungs)
        ends = {f"{called[key]}/{name}": (key, name, end) for key, name, end in found}
        # A report from before the end was asked for goes beyond it only where offsets have gone back since.
        anew = {place for place, (_, _, end) in ends.items() if _furthest(reports, place) > end}
        return _Search(held, ends, opened, anew, began_ms)

    def _names(self, number: int, streams: Iterable[str]) -> dict[str, list[str]]:
        """By rung, its lanes in which messages of these streams may be, all of them in one lane of the numbers."""
        counts = {key: rung.traits.lanes for key, rung in self._rungs.items()}
        together = set(counts).intersection(*(self._together(stream) for stream in streams))
        return {
            key: [str(number % count)] if key in together else [str(each) for each in range(count)]
            for key, count in counts.items()
        }

    def _together(self, stream: str) -> set[str]:
        """The rungs of which one lane has all of a stream."""
        return {key for key, rung in self._rungs.items() if lanes_of_stream(stream) % rung.traits.lanes == 0}

    async def _read_to_the_end(self, search: _Search, reports: Sequence[Report]) -> set[str]:
        """The rungs whose lanes were read to the ends that they had."""
        unread: set[str] = set()
        for place, (key, name, end) in search.ends.items():
            is_told = place not in search.anew and _furthest(reports, place) >= end
            if key in unread or end == 0 or is_told:
                continue
            if key in self._silent or not await self._is_through(key, name):
                unread.add(key)
        return self._rungs.keys() - unread

    async def _is_through(self, key: str, name: str) -> bool:
        """Whether the group has nothing left in a lane of a rung, but perhaps what is held here."""
        try:
            left = await self._rungs[key].backlog(self._group, name)
            held = self._held_of(key, name) if 0 < left <= _FEW else {}
            if not left or len(held) != left:
                return not left
            # Asked between two looks at what is held, so that it is of these that so many were left.
            left = await self._rungs[key].backlog(self._group, name)
        except EvermqError:
            self._silent.add(key)
            return False
        lanes = list({lane.number: lane for lane in held.values()}.values())
        return len(held) == left and await self.is_claimed(lanes) and held == self._held_of(key, name)

    def _held_of(self, key: str, name: str) -> dict[int | None, Lane]:
        """What waits here of a lane of a rung, by offset; nobody else has settled it, since its own lane is claimed."""
        lanes = [lane for lane in self._gate.lanes.values() if lane.claimed and lane.parked]
        parked = [(each.delivery.position, lane) for lane in lanes for each in lane.parked]
        return {at.offset: lane for at, lane in parked if at.lane == name and at.via[:1] == (key,)}

    def _absent(self, lane: Lane, past: set[str], told: _Told) -> dict[str, tuple[Parked, list[Held]]]:
        """By stream, what may go on, since what is before it is nowhere, and what is held of the stream. The lane may
        have moved while others were asked."""
        found: dict[str, tuple[Parked, list[Held]]] = {}
        search: _Search | None = lane.proof
        if not lane.claimed or lane.out or search is None:
            return found
        own = _by_stream(chain(self._gate.underway.held(self._clock.monotonic_ms()), lane.parked.held()))
        streams = {name: self._about(stream, told, own) for name, stream in lane.streams.items()}
        for parked in lane.parked:
            stream, seq, prev, *_ = parked.number
            about = streams.get(stream)
            if about is None or about.lowest < seq:
                continue  # what is lower is of its bucket, perhaps, and goes first
            if about.known.has(prev) or stream in found or prev >= about.opened:
                continue
            read = about.read_past(prev)
            if parked in search.held and prev < search.opened.get(stream, 0):
                read |= past
            others = [*told.get(stream, ()), *own.get(stream, ())]
            if self._is_nowhere(lane, parked, read, past, [each for each in others if each.is_copy]):
                found[stream] = (parked, others)
        return found

    def _about(self, stream: Stream, told: _Told, own: _Told) -> _About:
        held = [each for known in (told, own) for each in known.get(stream.name, ()) if not each.is_copy]
        open_from = stream.settled.open_from
        lowest = min((low for each in held if (low := open_from(each.seq)) in each.numbers), default=sys.maxsize)
        return _About(stream, self._gate.opened(stream.name), held, lowest, self._together(stream.name))

    def _is_nowhere(self, lane: Lane, parked: Parked, read: set[str], past: set[str], copies: list[Held]) -> bool:
        """Neither on a rung nor with a sender; one that only a sender has is asked for."""
        stream, settled = parked.number.stream, lane.streams[parked.number.stream].settled
        here = _before(parked.number.seq, [each for each in copies if each.rung == COPY], settled)
        sent = [each for each in copies if each.rung == SENT]
        if here or (stream not in self._copied and _before(parked.number.seq, sent, settled)):
            self._copied[stream] = self._clock.monotonic_ms()
        if not read >= self._rungs.keys():
            return False
        if here:
            self._wanted.setdefault(lane.number, {})[stream] = Wanted(stream, here[0], here[-1])
            return False
        if stream not in self._copied:
            return True
        return past >= self._rungs.keys() and lane.proof.began_ms > self._copied[stream]

    def _conclude(self, lane: Lane, past: set[str], told: _Told, proved: Collection[Parked]) -> bool:
        """Pass over what is nowhere, and was so before the rungs and the store were asked."""
        found = {name: each for name, each in self._absent(lane, past, told).items() if each[0] in proved}
        for parked, others in found.values():
            seq, settled = parked.number.seq, lane.streams[parked.number.stream].settled
            held = chain.from_iterable(each.numbers for each in others if not each.is_copy)
            self._gate.pass_over(lane, parked, ABSENT, {*held, *_before(seq, others, settled)})
        if found or past >= self._rungs.keys():
            lane.proof = None  # what is still held needs another search
        return bool(found)


def _furthest(reports: Iterable[Report], place: str) -> int:
    return max((report.at.get(place, 0) for report in reports), default=0)


def _is_among(parked: Parked, names: Mapping[str, Collection[str]]) -> bool:
    """Whether a message came from a lane of its rung in which its number would be looked for."""
    position = parked.delivery.position
    return not position.via or position.lane in names.get(position.via[0], (position.lane,))


def _by_stream(held: Iterable[Held]) -> _Told:
    found: _Told = {}
    for each in held:
        found.setdefault(each.stream, []).append(each)
    return found


def _before(seq: int, copies: Iterable[Held], settled: Settled) -> list[int]:
    """Numbers of which senders have copies and that another number may be waiting for."""
    spans = [range(max(each.seq, settled.next), min(each.last + 1, seq)) for each in copies if each.is_copy]
    return sorted({number for span in spans for number in span if number not in settled})
