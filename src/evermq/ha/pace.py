"""How fast the lower rungs of a ladder are read, so that what piled up in an outage leaves room for what comes now."""

from __future__ import annotations

from evermq.clock import Clock
from evermq.errors import Misconfigured

__all__ = ["Pace"]

_LIVE_MS = 1_000  # the highest rung has traffic if it gave something not longer ago
_STEPS_PER_S = 50


class Pace:
    """per_s_max: messages a second of all readers that share it, while the highest rung has traffic. In an outage, when
    the lower rungs carry everything, nothing is held back."""

    def __init__(self, per_s_max: int, clock: Clock) -> None:
        if per_s_max < 1:
            raise Misconfigured(f"drain_per_s_max = {per_s_max}: give messages a second, or leave it out for no bound")
        self._per_s_max = per_s_max
        self._clock = clock
        self._live_until_ms = 0.0
        self._next_ms = 0.0

    def saw_live(self) -> None:
        """The highest rung gave something."""
        self._live_until_ms = self._clock.monotonic_ms() + _LIVE_MS

    def count_max(self, count_max: int) -> int:
        """How many to read at a time: in small steps, so that live messages never wait for long."""
        return min(count_max, max(1, self._per_s_max // _STEPS_PER_S)) if self._is_live else count_max

    async def wait(self, count: int) -> None:
        """Until so many more may be read."""
        now_ms = self._clock.monotonic_ms()
        if not self._is_live:
            self._next_ms = now_ms
            return
        begin_ms = max(self._next_ms, now_ms)
        self._next_ms = begin_ms + 1_000 * count / self._per_s_max
        if begin_ms > now_ms:
            await self._clock.sleep(begin_ms - now_ms)

    @property
    def _is_live(self) -> bool:
        return self._clock.monotonic_ms() < self._live_until_ms
