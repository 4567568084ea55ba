"""Simulated worlds by name, for `evermq simulate`: each must pass for every seed, but for those that
show what breaks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

__all__ = ["World", "WorldResult", "run_world", "worlds"]


@dataclass(slots=True)
class WorldResult:
    """What one seed gave. histories: runs that were judged; crash_points: of them, after a crash. failures: what was
    wrong, a sentence each. invalid: why it proves nothing, likewise. seen: how often what was meant to happen did.
    trace: what happened, in an order and form that only the seed decides."""

    histories: int = 0
    crash_points: int = 0
    failures: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    trace: Any = field(default_factory=lambda: blake2b(digest_size=8))

    def note(self, *what: object) -> None:
        """Make this part of the trace."""
        self.trace.update(repr(what).encode())


@dataclass(frozen=True, slots=True)
class World:
    """`run(seed)` plays one seed. breaks: what it plays is known to be wrong, and must fail for some seeds."""

    name: str
    what: str
    run: Callable[[int], WorldResult]
    breaks: bool = False


def worlds() -> dict[str, World]:
    """All worlds by name."""
    from evermq.testing.worlds import (
        composites,
        linked,
        log_clock,
        log_crash,
        log_failing,
        log_lying,
        log_rot,
        log_topics,
        order,
        order_adoption,
        order_groups,
        order_lanes,
        order_retained,
        order_scattered,
        published,
    )

    logs = (*log_clock.WORLDS, *log_crash.WORLDS, *log_failing.WORLDS, *log_lying.WORLDS, *log_rot.WORLDS)
    logs = (*logs, *log_topics.WORLDS)
    orders = (*order.WORLDS, *order_adoption.WORLDS, *order_groups.WORLDS, *order_lanes.WORLDS, *order_scattered.WORLDS)
    each = (*logs, *composites.WORLDS, *orders, *order_retained.WORLDS, *published.WORLDS, *linked.WORLDS)
    return {world.name: world for world in each}


def run_world(
    name: str, seeds: Iterable[int], *, tell: Callable[[int, int], None] = lambda done, count: None
) -> dict[str, Any]:
    """Play seeds; the summary has the fields of the command line's contract, and the trace hash of a single seed.

    tell(done, count): so many of the seeds are played."""
    world = worlds()[name]
    began = time.monotonic()
    played = list(seeds)
    histories = crash_points = 0
    failed, invalid, reasons, trace = [], [], [], ""
    seen: Counter[str] = Counter()
    for done, seed in enumerate(played):
        tell(done, len(played))
        result = world.run(seed)
        histories += result.histories
        crash_points += result.crash_points
        seen += result.seen
        trace = result.trace.hexdigest()
        if result.invalid and not result.failures:
            invalid.append(seed)
        if result.failures:
            failed.append(seed)
            reasons += [f"seed {seed}: {failure}" for failure in result.failures[:3]]
    tell(len(played), len(played))
    summary: dict[str, Any] = {
        "world": name,
        "seeds": f"{played[0]}..{played[-1]}" if played else "",
        "histories": histories,
        "crash_points": crash_points,
        "failed": failed,
        "invalid": invalid,
        "elapsed_s": round(time.monotonic() - began, 1),
    }
    if reasons:
        summary["reasons"] = reasons[:20]
    if seen:
        summary["seen"] = dict(sorted(seen.items()))
    if len(played) == 1:
        summary["trace_hash"] = trace
    return summary
