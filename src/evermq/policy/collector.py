"""States of streams whose producers are gone do not stay for ever."""

from __future__ import annotations

from evermq.clock import Clock
from evermq.policy.gate import Gate
from evermq.policy.lane import Lane, Stream
from evermq.settling import Part

__all__ = ["DAY_MS", "KEEP_DAYS", "Collector"]

DAY_MS = 86_400_000
KEEP_DAYS = 60  # twice as long as a producer may be silent before it begins new streams
_FIRST_MS, _EVERY_MS = 60_000, 3_600_000
_COUNT_MAX = 500  # in one turn


class Collector:
    """Looks for them in the lanes that a reader has claimed, now and then.

    A stream is forgotten once no stream of its producer was settled by the group for `KEEP_DAYS`, in any lane. What
    comes of it all the same is handed out as of a stream that begins there."""

    def __init__(self, gate: Gate, part: Part, clock: Clock) -> None:
        self._gate = gate
        self._part = part
        self._clock = clock
        self._next_ms = clock.monotonic_ms() + _FIRST_MS

    async def turn(self) -> None:
        """Does nothing most of the time."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + _EVERY_MS
        self._gate.forget_moved()
        day = self._clock.now_ms() // DAY_MS - KEEP_DAYS
        old = [(lane, stream) for lane in self._gate.lanes.values() for stream in _idle(lane, day)][:_COUNT_MAX]
        if not old:
            return
        wanted: dict[int, set[str]] = {}
        for lane, stream in old:
            wanted.setdefault(lane.number, set()).add(stream.name)
        gone = await self._part.collect(wanted, day)
        for lane, stream in old:
            if stream.name in gone and lane.streams.get(stream.name) is stream:
                if stream in _idle(lane, day):
                    self._gate.forget(lane, stream.name)
                else:  # something came meanwhile, so that it is to be written down anew
                    lane.changed.add(stream)


def _idle(lane: Lane, day: int) -> list[Stream]:
    if not lane.claimed:
        return []
    waiting = {parked.number.stream for parked in lane.parked}
    streams = [each for each in lane.streams.values() if 0 < each.settled.day < day]
    return [each for each in streams if not each.out and each.name not in waiting and each not in lane.changed]
