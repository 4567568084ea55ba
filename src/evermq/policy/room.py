"""How much a reader holds of what waits for something else; what is beyond goes back to the engine for a while."""

from __future__ import annotations

from evermq.policy.gate import Gate
from evermq.policy.waiting import Parked

__all__ = ["beyond_room"]

_BYTES_MAX = 256 << 20  # of all lanes together, of which there may be hundreds
_BYTES_KEPT = 192 << 20  # once that is reached, so that what comes next has some room


def beyond_room(gate: Gate, count_max: int) -> list[Parked]:
    """Take it out of the lanes, of each the latest: what a lane holds beyond `count_max`, and where all together hold
    too much, what is beyond the share of each."""
    over: list[Parked] = []
    lanes = [lane for lane in gate.lanes.values() if lane.parked]
    for lane in lanes:
        if len(lane.parked) > count_max:
            over += gate.overflow(lane, count_max)
    if sum(lane.parked.size_bytes for lane in lanes) > _BYTES_MAX:
        share = _BYTES_KEPT // len(lanes)
        for lane in lanes:
            if lane.parked.size_bytes > share:
                over += gate.overflow(lane, lane.parked.count_within(share))
    return over
