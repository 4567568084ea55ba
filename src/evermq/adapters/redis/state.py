"""What the scripts are told of a lane that a reader holds."""

from __future__ import annotations

from evermq.adapters.redis.script import Packed, pack
from evermq.adapters.redis.window import LaneWindow

__all__ = ["stands", "state"]


def stands(window: LaneWindow | None) -> str:
    """Where its reader stands; empty where it does not hold the lane."""
    return f"{window.next},{window.entry},{window.base}" if window else ""


def state(window: LaneWindow) -> Packed:
    """What lua/save.lua writes of it."""
    again_ms, low = window.again_ms, window.low()
    return pack(
        "keep" if window.out else "free",
        stands(window),
        window.handed if window.handed > window.next else "",
        window.blob(),
        "" if again_ms is None else again_ms,
        window.open_count or "",
        f"{low[0]},{low[1]}",
    )
