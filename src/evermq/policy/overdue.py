"""What was waited for long enough, whatever can be proved."""

from __future__ import annotations

from evermq.clock import Clock
from evermq.policy.absence import Absence
from evermq.policy.gate import UNPROVED, Gate
from evermq.policy.lane import Lane
from evermq.policy.waiting import Parked

__all__ = ["Overdue"]


class Overdue:
    """hold_ms_max: for so long a message waits at most; None: for ever."""

    def __init__(self, gate: Gate, absence: Absence, hold_ms_max: int | None, clock: Clock) -> None:
        self._gate = gate
        self._absence = absence
        self._hold_ms_max = hold_ms_max
        self._clock = clock

    async def pass_over(self) -> list[Lane]:
        """Returns the lanes in which something may move now."""
        if not self._old() or not await self._absence.is_claimed(list(self._old())):
            return []
        old = self._old()
        for lane, waiting in old.items():
            for parked in waiting:
                self._gate.pass_over(lane, parked, UNPROVED)
        return list(old)

    def _old(self) -> dict[Lane, list[Parked]]:
        """By lane, what others have waited for, or itself, for as long as anything may."""
        if self._hold_ms_max is None:
            return {}
        until_ms = self._clock.monotonic_ms() - self._hold_ms_max
        lanes = [lane for lane in self._gate.lanes.values() if lane.claimed and lane.out == 0]
        return {lane: heads for lane in lanes if (heads := lane.heads(until_ms))}
