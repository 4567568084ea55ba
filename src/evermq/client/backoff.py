"""How long to wait before the next attempt."""

from __future__ import annotations

from dataclasses import dataclass

from evermq.client.bounds import check_whole
from evermq.clock import Clock

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter (AWS Architecture Blog, "Exponential Backoff and Jitter"): a random share of a bound that doubles
    from `first_ms` to `max_ms`."""

    first_ms: int = 100
    max_ms: int = 30_000

    def __post_init__(self) -> None:
        check_whole(0, first_ms=self.first_ms, max_ms=self.max_ms)

    def wait_ms(self, attempt: int, clock: Clock) -> int:
        """How long to wait after attempt number `attempt` (from 1) failed."""
        bound = min(self.max_ms, self.first_ms << min(attempt - 1, 30))
        return int(clock.token(), 16) % (bound + 1)
