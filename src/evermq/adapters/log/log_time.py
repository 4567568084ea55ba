"""The time of a log, which never goes back."""

from __future__ import annotations

from threading import Lock

from evermq.clock import Clock

__all__ = ["LogTime"]

_ROUNDING_MS = 10


class LogTime:
    """Follows the wall clock forwards, and where that was set back, goes on by the time that really passes.

    begin_ms: the latest time that is stored. It labels groups, and ages and pauses are measured by it; what is due at
    a moment of the wall clock is not.
    """

    def __init__(self, clock: Clock, begin_ms: int) -> None:
        self._clock = clock
        self._lock = Lock()
        self._last_ms = begin_ms
        self._seen_ms = clock.monotonic_ms()

    def now_ms(self) -> int:
        with self._lock:
            wall_ms = self._clock.now_ms()
            monotonic_ms = self._clock.monotonic_ms()
            passed_ms = self._last_ms + monotonic_ms - self._seen_ms
            self._seen_ms = monotonic_ms
            if wall_ms <= passed_ms - _ROUNDING_MS:
                self._last_ms = passed_ms
            elif wall_ms > self._last_ms:
                self._last_ms = wall_ms
            return self._last_ms
