"""How much to take ahead: what is done in a second. Who is slow, stops or dies then holds little that it never saw."""

from __future__ import annotations

from evermq.clock import Clock

__all__ = ["Pace"]

_AHEAD_MS = 1_000
_GROWTH = 4  # at most so many times as much as before: one quick round says little of the next


class Pace:
    """The time in which there was nothing to do, from `rest` to `go`, does not count.

    concurrency: how many are worked on side by side. That many may end at once however long they take, so that it
    needs twice as many to say something.
    """

    def __init__(self, clock: Clock, concurrency: int, count_max: int) -> None:
        self._clock = clock
        self._concurrency = concurrency
        self._count_max = count_max
        self._ahead = 0
        self._done = 0  # by then
        self._since_ms = clock.monotonic_ms()
        self._resting_ms: int | None = self._since_ms

    def rest(self) -> None:
        self._resting_ms = self._clock.monotonic_ms()

    def go(self) -> None:
        if self._resting_ms is not None:
            self._since_ms += self._clock.monotonic_ms() - self._resting_ms
            self._resting_ms = None

    def look(self, done: int) -> int:
        """How much may be taken beyond what is worked on, so many being done since the start."""
        now_ms = self._clock.monotonic_ms() if self._resting_ms is None else self._resting_ms
        passed_ms, count = now_ms - self._since_ms, done - self._done
        if count >= 2 * self._concurrency or passed_ms >= _AHEAD_MS:
            most = min(self._count_max, _GROWTH * max(self._ahead, self._concurrency))
            self._ahead = min(most, count * _AHEAD_MS // max(1, passed_ms))
            self._since_ms, self._done = now_ms, done
        return self._ahead
