"""The proof that what a held message waits for is nowhere: not a timer, but a search that has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evermq.clock import Clock
from evermq.errors import EvermqError
from evermq.policy.gate import ABSENT, Gate, Lane, Parked
from evermq.port import Queue
from evermq.settling import Bounded, Report

__all__ = ["Absence"]

_PATIENCE_MS = 500


@dataclass(slots=True)
class _Search:
    """What was held when it began, where every rung ended then, and which numbers had landed by then."""

    held: list[Parked]
    ends: dict[str, tuple[str, str, int]]
    opened: dict[str, int]


class Absence:
    """A message is absent once every rung's lane was read past the end that it had when the search began, no reader
    holds it, and a later message says that it had landed. It is passed over by the reader that has claimed the lane,
    while the application has nothing of it. A rung that does not tell its ends, or cannot be asked, proves nothing.
    """

    patience_ms = _PATIENCE_MS

    def __init__(self, gate: Gate, rungs: Mapping[str, Queue], group: str, clock: Clock) -> None:
        self._gate = gate
        self._rungs = rungs
        self._group = group
        self._clock = clock

    async def prove(self, reports: Sequence[Report]) -> list[Lane]:
        """Go on with every search; returns the lanes in which something may move now."""
        moved = []
        for lane in list(self._gate.lanes.values()):
            if not lane.parked:
                lane.proof = None
            elif lane.proof is None:
                lane.proof = await self._begin(lane)
            elif (
                lane.claimed
                and not lane.out
                and await self._has_ended(lane.proof, reports)
                and self._conclude(lane, reports)
            ):
                moved.append(lane)
        return moved

    async def _begin(self, lane: Lane) -> _Search | None:
        old_ms = self._clock.monotonic_ms() - _PATIENCE_MS
        held = [parked for parked in lane.parked if parked.since_ms <= old_ms]
        if not held:
            return None
        opened = {p.number.stream: self._gate.opened.get(p.number.stream, 0) for p in held}
        ends = {}
        for key, rung in self._rungs.items():
            name = str(lane.number % rung.traits.lanes)
            if not isinstance(rung, Bounded):
                return None
            try:
                ends[f"{key}/{name}"] = (key, name, await rung.end(name))
            except EvermqError:
                return None
        return _Search(held, ends, opened)

    async def _has_ended(self, search: _Search, reports: Sequence[Report]) -> bool:
        for place, (key, name, end) in search.ends.items():
            if end and max((report.at.get(place, 0) for report in reports), default=0) < end:
                try:
                    if await self._rungs[key].backlog(self._group, name):
                        return False
                except EvermqError:
                    return False
        return True

    def _conclude(self, lane: Lane, reports: Sequence[Report]) -> bool:
        """Pass over what is nowhere. The lane may have moved while the rungs were asked."""
        if not lane.claimed or lane.out:
            return False
        search, lane.proof = lane.proof, None
        held = {each for report in reports for each in report.held} | self._gate.held()
        moved = False
        for parked in search.held:
            stream, prev = parked.number.stream, parked.number.prev
            known = lane.streams.get(stream)
            if (
                parked in lane.parked
                and known is not None
                and not known.has(prev)
                and prev < search.opened.get(stream, 0)
                and f"{stream} {prev}" not in held
            ):
                self._gate.pass_over(lane, parked, ABSENT)
                moved = True
        return moved
