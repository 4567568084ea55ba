"""What a reader gave back to the engine, and nobody has been seen to have since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from evermq.clock import Clock
from evermq.errors import EvermqError
from evermq.numbers import Number, lane_of_stream
from evermq.port import Queue
from evermq.settled import Settled
from evermq.settling import Held, Part

__all__ = ["Gone", "GoneWatch"]

_GONE_MS = 30_000  # by then some reader has it, or has settled it
_OLD_MS = 5_000
_LOOK_MS = 1_000


class Gone:
    """Numbers that nothing may pass over, since they are on their way to some reader. For half a minute each; time in
    which a rung does not answer, and so hands nothing out, does not count (`keep`)."""

    def __init__(self) -> None:
        self._until_ms: dict[tuple[str, int], int] = {}

    def __bool__(self) -> bool:
        return bool(self._until_ms)

    def add(self, stream: str, numbers: Iterable[int], now_ms: int) -> None:
        """These go back, or will be due then."""
        self._until_ms.update({(stream, seq): now_ms + _GONE_MS for seq in numbers})

    def seen(self, number: Number) -> None:
        """It came again."""
        self._until_ms.pop((number.stream, number.seq), None)

    def settled(self, streams: Mapping[str, Settled]) -> None:
        """What these have settled comes no more."""
        self._until_ms = {
            (stream, seq): until_ms
            for (stream, seq), until_ms in self._until_ms.items()
            if stream not in streams or seq not in streams[stream]
        }

    def old(self, now_ms: int) -> set[str]:
        """The streams of what should have come again by now."""
        return {stream for (stream, _), until_ms in self._until_ms.items() if until_ms < now_ms + _GONE_MS - _OLD_MS}

    def keep(self, now_ms: int) -> None:
        """Not all rungs answer: half a minute more, from now on."""
        self._until_ms = {each: max(until_ms, now_ms + _GONE_MS) for each, until_ms in self._until_ms.items()}

    def held(self, now_ms: int) -> set[Held]:
        """As a reader tells the others of it."""
        self._until_ms = {each: until_ms for each, until_ms in self._until_ms.items() if until_ms > now_ms}
        return {Held(stream, seq, 0, "") for stream, seq in self._until_ms}


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
