"""What a reader gave back to the engine, and nobody has been seen to have since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evermq.clock import Clock
from evermq.errors import EvermqError
from evermq.numbers import Number, lane_of_stream
from evermq.port import Queue
from evermq.position import Position
from evermq.settled import Settled
from evermq.settling import Bounded, Held, Part

__all__ = ["Gone", "GoneWatch"]

_GONE_MS = 30_000  # by then some reader has it, or has settled it
_OLD_MS = 5_000
_LOOK_MS = 1_000
_LEFT_MS_MAX = 600_000  # a rung that says for longer that it has it to give means something else, perhaps
_LANES_MAX = 16  # asked for in one turn


@dataclass(slots=True)
class _Back:
    """place: where it was read, as long as its rung may say that it is left there. ends_ms: when it counts as nowhere.
    last_ms: until when what its rung says may put that off."""

    place: Position | None
    ends_ms: int
    last_ms: int

    @property
    def lane(self) -> tuple[str, str] | None:
        """Rung and lane that can be asked for it."""
        place = self.place
        return (place.via[0], place.lane) if place and len(place.via) == 1 and place.offset is not None else None


class Gone:
    """Numbers that nothing may pass over, since they are on their way to some reader. For half a minute each; time in
    which a rung does not answer, and so hands nothing out, does not count (`keep`), nor does that in which the rung
    says that the group has yet to get what is there (`tell`)."""

    def __init__(self) -> None:
        self._back: dict[tuple[str, int], _Back] = {}

    def __bool__(self) -> bool:
        return bool(self._back)

    def add(self, stream: str, places: Mapping[int, Position], now_ms: int) -> None:
        """These go back, or will be due then. places: by number, where each was read."""
        ends_ms, last_ms = now_ms + _GONE_MS, now_ms + _LEFT_MS_MAX
        self._back.update({(stream, seq): _Back(place, ends_ms, last_ms) for seq, place in places.items()})

    def seen(self, number: Number) -> None:
        """It came again."""
        self._back.pop((number.stream, number.seq), None)

    def settled(self, streams: Mapping[str, Settled]) -> None:
        """What these have settled comes no more."""
        self._back = {
            (stream, seq): back
            for (stream, seq), back in self._back.items()
            if stream not in streams or seq not in streams[stream]
        }

    def old(self, now_ms: int) -> set[str]:
        """The streams of what should have come again by now."""
        return {stream for (stream, _), back in self._back.items() if _is_old(back, now_ms)}

    def keep(self, now_ms: int) -> None:
        """Not all rungs answer: half a minute more, from now on."""
        for back in self._back.values():
            back.ends_ms = max(back.ends_ms, now_ms + _GONE_MS)

    def lanes(self, now_ms: int) -> list[tuple[str, str]]:
        """Rungs and lanes of what should have come again by now, where they can be asked for it; the oldest first."""
        old = sorted((back for back in self._back.values() if _is_old(back, now_ms)), key=lambda back: back.ends_ms)
        return list(dict.fromkeys(lane for back in old if (lane := back.lane)))

    def tell(self, lane: tuple[str, str], left: range, now_ms: int) -> None:
        """In this lane, of what had gone back by then, that is left for the group. What is not comes no more from
        there; another rung may have it, and for that half a minute has to do."""
        for back in self._back.values():
            if back.lane == lane and back.place and _is_old(back, now_ms):
                if back.place.offset in left and now_ms < back.last_ms:
                    back.ends_ms = max(back.ends_ms, now_ms + _GONE_MS)
                else:
                    back.place = None

    def held(self, now_ms: int) -> set[Held]:
        """As a reader tells the others of it."""
        self._back = {each: back for each, back in self._back.items() if back.ends_ms > now_ms}
        return {Held(stream, seq, 0, "") for stream, seq in self._back}


def _is_old(back: _Back, now_ms: int) -> bool:
    return back.ends_ms < now_ms + _GONE_MS - _OLD_MS


class GoneWatch:
    """Finds out what became of numbers that should have come again by now."""

    def __init__(self, gone: Gone, part: Part, rungs: Mapping[str, Queue], group: str, clock: Clock) -> None:
        self._gone = gone
        self._part = part
        self._rungs = rungs
        self._group = group
        self._clock = clock
        self._next_ms = 0

    async def turn(self) -> None:
        """Does nothing most of the time. Raises Unavailable and Uncertain as the store does."""
        now_ms = self._clock.monotonic_ms()
        streams = self._gone.old(now_ms)
        if not streams or now_ms < self._next_ms:
            return
        self._next_ms = now_ms + _LOOK_MS
        if not await self._all_answer():
            self._gone.keep(self._clock.monotonic_ms())
        await self._ask(now_ms)
        states = await self._part.look({lane_of_stream(stream) for stream in streams}, streams)
        known = {name: Settled.unpack(text) for lane in states.values() for name, text in lane.items()}
        self._gone.settled(known)

    async def _all_answer(self) -> bool:
        try:
            for rung in self._rungs.values():
                await rung.backlog(self._group)
        except EvermqError:
            return False
        return True

    async def _ask(self, now_ms: int) -> None:
        """The rungs for what is left of the lanes in question; who is silent is asked again next time."""
        silent: set[str] = set()
        asked = 0
        for key, lane in self._gone.lanes(now_ms):
            if key in silent or asked == _LANES_MAX:
                continue
            asked += 1
            try:
                self._gone.tell((key, lane), await self._left(key, lane), now_ms)
            except EvermqError:
                silent.add(key)

    async def _left(self, key: str, lane: str) -> range:
        """The offsets of which a rung says that the group has yet to get what is there; none where it does not tell.

        One that goes by a single offset for a group and lane, as Kafka does, says by its backlog which that is. With
        others it seems higher than it is, where some of what is behind it is settled."""
        rung = self._rungs.get(key)
        if not isinstance(rung, Bounded):
            return range(0)
        end = await rung.end(lane)
        return range(end - await rung.backlog(self._group, lane), end)  # what comes meanwhile makes it seem lower
