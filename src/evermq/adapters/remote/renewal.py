"""A place of ours that a failed write closed to appends is opened anew, once its disk takes writes again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from evermq.adapters.remote.agreed import MayFail
from evermq.clock import Clock

__all__ = ["Renewal"]

_LOOK_MS = 1_000
_PAUSE_MS_MAX = 64_000  # between two of them: what a reader holds comes again each time, as one more attempt
_HELD_MS = 60_000  # without a failure: then the pause is short again


class Renewal:
    """renew: opens the place anew; it is called where the disk took a trial write. Not before: what can be read as
    long as it stays open might not be opened any more."""

    def __init__(self, clock: Clock, renew: Callable[[MayFail], Awaitable[None]]) -> None:
        self._clock = clock
        self._renew = renew
        self._task: asyncio.Task[None] | None = None
        self._pause_ms = 0
        self._renewed_ms = clock.monotonic_ms() - _HELD_MS

    def watch(self, place: MayFail) -> None:
        """Look after this one, and no more after the one before."""
        self._task = asyncio.create_task(self._watch(place))

    def end(self) -> None:
        """Look after none."""
        if self._task:
            self._task.cancel()

    async def _watch(self, place: MayFail) -> None:
        while not place.has_failed:
            await self._clock.sleep(_LOOK_MS)
        held = self._clock.monotonic_ms() - self._renewed_ms >= _HELD_MS
        self._pause_ms = 0 if held else max(_LOOK_MS, min(2 * self._pause_ms, _PAUSE_MS_MAX))
        while not await self._may_renew(place):
            await self._clock.sleep(_LOOK_MS)
        self._renewed_ms = self._clock.monotonic_ms()
        await self._renew(place)

    async def _may_renew(self, place: MayFail) -> bool:
        if self._clock.monotonic_ms() < self._renewed_ms + self._pause_ms:
            return False
        try:
            return await asyncio.to_thread(place.takes_writes)
        except RuntimeError:  # the system has no thread for it
            return False
