"""What the figures of a drill are to be. A timing is the machine's as well: a goal that is missed is shown, and judges
nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evermq.drills.faults.outages import Outage
    from evermq.drills.figures import Figures

__all__ = ["goals_of", "rows", "told"]

_Goals = Mapping[str, Mapping[str, Any]]

_LABELS = {
    "flip_s": "all senders have left (s)",
    "outage_p99_ratio": "p99 of send, outage to healthy",
    "stall_max_s": "longest stall of a sender (s)",
}
_WORDS = {True: "met", False: "MISSED", None: "not asked"}
_FLIP_S, _RATIO, _REFUSED_S, _SILENT_S = 3.0, 2.0, 1.0, 3.0


def goals_of(figures: Figures, outage: Outage) -> dict[str, dict[str, Any]]:
    """For each goal what `is`, what it is to be `at_most`, and whether it is `met`: None where nobody has to leave."""
    stall_s = _REFUSED_S if outage.refuses else _SILENT_S
    return {
        "flip_s": _goal(figures.flip_s if outage.total else None, _FLIP_S, outage),
        "outage_p99_ratio": _goal(_ratio(figures.send_p99_ms), _RATIO, outage),
        "stall_max_s": _goal(figures.stall_max_s, stall_s, outage),
    }


def rows(goals: _Goals) -> list[tuple[str, str, str, str]]:
    """For people: the goal, what is, what it is to be at most, and a word on it."""
    return [
        (_LABELS[name], "-" if goal["is"] is None else str(goal["is"]), str(goal["at_most"]), _WORDS[goal["met"]])
        for name, goal in goals.items()
    ]


def told(goals: _Goals) -> str:
    """In a line."""
    return "; ".join(f"{label} {value}, at most {at_most}: {word}" for label, value, at_most, word in rows(goals))


def _ratio(p99_ms: Mapping[str, float | None]) -> float | None:
    healthy, outage = p99_ms["healthy"], p99_ms["outage"]
    return outage / healthy if healthy and outage is not None else None


def _goal(value: float | None, at_most: float, outage: Outage) -> dict[str, Any]:
    if value is None:
        return {"is": None, "at_most": at_most, "met": False if outage.total else None}
    return {"is": round(value, 3), "at_most": at_most, "met": value <= at_most}
