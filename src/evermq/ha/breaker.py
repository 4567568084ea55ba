"""Away at once, back slowly. Pure: it takes the time, and touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Breaker", "Pace", "State"]


class State(IntEnum):
    """Of a rung or a lane; the greater one is the more careful."""

    NORMAL = 0
    RETURNING = 1  # a small share of the traffic is let through
    DEGRADED = 2  # only probes are


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How slowly it comes back. good: round trips in a row, good_ms: over so long at least, before anything returns.
    dwell_ms: it stays away so long at least, twice as long after each relapse, up to dwell_ms_max.
    returning_ms: and so long it then goes on with a share of the traffic, with as many good round trips again."""

    good: int = 5
    good_ms: int = 10_000
    dwell_ms: int = 15_000
    dwell_ms_max: int = 300_000
    returning_ms: int = 5_000

    def dwell_after_ms(self, trips: int) -> int:
        """The dwell of the last of so many trips that followed each other soon."""
        return min(self.dwell_ms << (trips - 1), self.dwell_ms_max) if trips > 1 else self.dwell_ms


class Breaker:
    """Of one scope in one process. reason: of the last trip. since_ms: when the state was entered."""

    def __init__(self, pace: Pace, now_ms: int) -> None:
        self._pace = pace
        self.state = State.NORMAL
        self.since_ms = now_ms
        self.reason = ""
        self.trips = 0
        self.heard_ms: int | None = None
        self._dwell_ms = 0
        self._tripped_ms = now_ms
        self._good = 0
        self._good_since_ms = now_ms

    @property
    def is_well(self) -> bool:
        """Whether the last round trip since the state was entered went well."""
        return self._good > 0

    def trip(self, reason: str, now_ms: int) -> None:
        """It is down. After a long time in which it was well, the dwell begins small again."""
        if self.state is not State.DEGRADED:
            pace = self._pace
            lasted = self.state is State.NORMAL and now_ms - self.since_ms >= pace.dwell_ms_max
            grown_ms = min(2 * self._dwell_ms, pace.dwell_ms_max)
            self._dwell_ms = pace.dwell_ms if lasted or not self._dwell_ms else grown_ms
            self._tripped_ms = now_ms
            self.trips += 1
            self.reason = reason
            self._enter(State.DEGRADED, now_ms)

    def follow(self, state: State, now_ms: int) -> None:
        """Others found it so, and nothing was seen here that says otherwise."""
        self._enter(state, now_ms)

    def good(self, now_ms: int) -> None:
        """A round trip went well."""
        self.heard_ms = now_ms
        if self.state:
            if not self._good:
                self._good_since_ms = now_ms
            self._good += 1

    def bad(self, reason: str, now_ms: int) -> None:
        """A round trip failed, or was slow: on the way back one is enough."""
        self.heard_ms = now_ms
        self._good = 0
        if self.state is State.RETURNING:
            self.trip(f"relapse: {reason}", now_ms)

    def tick(self, now_ms: int, *, clear: bool = True) -> None:
        """Time passes. clear: nothing else stands in the way of coming back."""
        pace = self._pace
        if self._good < pace.good or not clear:
            return
        if self.state is State.DEGRADED:
            over_ms, stayed_ms = now_ms - self._good_since_ms, now_ms - self._tripped_ms
            if over_ms >= pace.good_ms and stayed_ms >= self._dwell_ms:
                self._enter(State.RETURNING, now_ms)
        elif self.state is State.RETURNING and now_ms - self.since_ms >= pace.returning_ms:
            self._enter(State.NORMAL, now_ms)

    def _enter(self, state: State, now_ms: int) -> None:
        self.state = state
        self.since_ms = now_ms
        self._good = 0
