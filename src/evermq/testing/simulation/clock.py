"""The clock of a simulation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

__all__ = ["SimulatedClock"]

_EPOCH_MS = 1_700_000_000_000


class SimulatedClock:
    """See `evermq.clock.Clock`. skew_ms: how far the wall clock is off; set it while running to make it jump."""

    def __init__(self, time_s: Callable[[], float], chance: random.Random) -> None:
        self._time_s = time_s
        self.random = chance
        self.skew_ms = 0

    def now_ms(self) -> int:
        return _EPOCH_MS + int(self._time_s() * 1000) + self.skew_ms

    def monotonic_ms(self) -> int:
        return int(self._time_s() * 1000)

    async def sleep(self, wait_ms: float) -> None:
        await asyncio.sleep(wait_ms / 1000)

    def token(self) -> str:
        return f"{self.random.getrandbits(64):016x}"
