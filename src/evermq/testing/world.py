"""Simulated worlds by name, for `evermq simulate`: each must pass for every seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

__all__ = ["World", "WorldResult", "run_world", "worlds"]


@dataclass(slots=True)
class WorldResult:
    """What one seed gave. histories: runs that were judged; crash_points: of them, after a crash. failures: what was
    wrong, a sentence each. trace: what happened, in an order and form that only the seed decides."""

    histories: int = 0
    crash_points: int = 0
    failures: list[str] = field(default_factory=list)
    trace: Any = field(default_factory=lambda: blake2b(digest_size=8))

    def note(self, *what: object) -> None:
        """Make this part of the trace."""
        self.trace.update(repr(what).encode())


@dataclass(frozen=True, slots=True)
class World:
    """`run(seed)` plays one seed."""

    name: str
    what: str
    run: Callable[[int], WorldResult]


def worlds() -> dict[str, World]:
    """All worlds by name."""
    from evermq.testing.worlds import log_crash, log_failing, log_rot

    return {world.name: world for world in (*log_crash.WORLDS, *log_failing.WORLDS, *log_rot.WORLDS)}


def run_world(name: str, seeds: Iterable[int]) -> dict[str, Any]:
    """Play seeds; the summary has the fields of the command line's contract, and the trace hash of a single seed."""
    world = worlds()[name]
    began = time.monotonic()
    played = list(seeds)
    histories = crash_points = 0
    failed, reasons, trace = [], [], ""
    for seed in played:
        result = world.run(seed)
        histories += result.histories
        crash_points += result.crash_points
        trace = result.trace.hexdigest()
        if result.failures:
            failed.append(seed)
            reasons += [f"seed {seed}: {failure}" for failure in result.failures[:3]]
    summary: dict[str, Any] = {
        "world": name,
        "seeds": f"{played[0]}..{played[-1]}" if played else "",
        "histories": histories,
        "crash_points": crash_points,
        "failed": failed,
        "elapsed_s": round(time.monotonic() - began, 1),
    }
    if reasons:
        summary["reasons"] = reasons[:20]
    if len(played) == 1:
        summary["trace_hash"] = trace
    return summary
