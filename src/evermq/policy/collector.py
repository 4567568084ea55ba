"""States of streams whose producers are gone do not stay for ever."""

from __future__ import annotations

from evermq.clock import Clock
from evermq.numbers import producer_of
from evermq.policy.gate import Gate
from evermq.policy.lane import Lane, Stream
from evermq.settling import Part

__all__ = ["DAY_MS", "KEEP_DAYS", "Collector"]

DAY_MS = 86_400_000
KEEP_DAYS = 60  # twice as long as a producer may be silent before it begins new streams
_FIRST_MS, _EVERY_MS = 60_000, 3_600_000
_NEXT_MS = 1_000
_COUNT_MAX = 500  # in one turn


class Collector:
    """Looks for them in the lanes that a reader has claimed, now and then, and then at all of them in turn.

    A stream is forgotten once no stream of its producer was settled by the group for `KEEP_DAYS`, in any lane. What
    comes of it all the same is handed out as of a stream that begins there."""

    def __init__(self, gate: Gate, part: Part, clock: Clock) -> None:
        self._gate = gate
        self._part = part
        self._clock = clock
        self._next_ms = clock.monotonic_ms() + _FIRST_MS
        self._left: list[tuple[Lane, Stream]] = []  # to be looked at in this round

    async def turn(self) -> None:
        """Does nothing most of the time."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + _EVERY_MS
        self._gate.forget_moved()
        day = self._clock.now_ms() // DAY_MS - KEEP_DAYS
        self._left = self._left or self._silent(day)
        if not self._left:
            return
        await self._collect(self._left[:_COUNT_MAX], day)
        self._left = self._left[_COUNT_MAX:]
        if self._left:
            self._next_ms = now_ms + _NEXT_MS

    def _silent(self, day: int) -> list[tuple[Lane, Stream]]:
        """All that are idle, those of a producer together, but for those of whom something was settled here since."""
        lanes = [lane for lane in self._gate.lanes.values() if lane.claimed]
        streams = [stream for lane in lanes for stream in lane.streams.values()]
        living = {producer_of(stream.name) for stream in streams if stream.settled.day >= day}
        idle = [(lane, stream) for lane in lanes for stream in _idle(lane, day)]
        silent = [each for each in idle if producer_of(each[1].name) not in living]
        return sorted(silent, key=lambda each: producer_of(each[1].name))

    async def _collect(self, old: list[tuple[Lane, Stream]], day: int) -> None:
        wanted: dict[int, set[str]] = {}
        idle = _still_idle(old, day)
        for lane, stream in idle:
            wanted.setdefault(lane.number, set()).add(stream.name)
        if not wanted:
            return
        gone = await self._part.collect(wanted, day)
        forgotten = [(lane, stream) for lane, stream in idle if stream.name in gone]
        still = _still_idle(forgotten, day)
        for lane, stream in forgotten:
            if (lane, stream) in still:
                self._gate.forget(lane, stream.name)
            elif lane.streams.get(stream.name) is stream:
                lane.changed.add(stream)  # something came meanwhile, so that it is to be written down anew


def _still_idle(streams: list[tuple[Lane, Stream]], day: int) -> set[tuple[Lane, Stream]]:
    idle = {lane: {*_idle(lane, day)} for lane, _ in streams}
    return {(lane, stream) for lane, stream in streams if stream in idle[lane]}


def _idle(lane: Lane, day: int) -> list[Stream]:
    if not lane.claimed:
        return []
    waiting = {parked.number.stream for parked in lane.parked}
    streams = [each for each in lane.streams.values() if 0 < each.settled.day < day]
    return [each for each in streams if not each.out and each.name not in waiting and each not in lane.changed]
