"""May a rung be taken up again, while the ones below still hold messages? Pure.

New messages above would overtake what waits below: readers that keep order would have to hold them all. So the return
waits until little is left below; but not for a group whose backlog does not shrink, be it that nobody reads it or that
more comes in than is read: waiting longer would change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

__all__ = ["Below", "Drained"]

Backlogs = Mapping[str, int]  # by group


class Drained:
    """little: as many messages of a group may be left. patience_ms: a backlog that has not shrunk for so long is not
    waited for."""

    def __init__(self, little: int = 1_000, patience_ms: int = 10_000) -> None:
        self._little = little
        self._patience_ms = patience_ms
        self._least: dict[str, tuple[int, int]] = {}  # of each group: the smallest backlog so far, and since when

    def reset(self) -> None:
        """Another return begins."""
        self._least.clear()

    def saw(self, backlogs: Backlogs, now_ms: int) -> bool:
        """Whether nothing has to be waited for, by what each group has left below."""
        done = [self._is_done(group, backlog, now_ms) for group, backlog in backlogs.items()]
        return all(done)

    def _is_done(self, group: str, backlog: int, now_ms: int) -> bool:
        least, since_ms = self._least.get(group, (backlog + 1, now_ms))
        if backlog < least:
            self._least[group] = backlog, now_ms
            since_ms = now_ms
        return backlog <= self._little or now_ms - since_ms >= self._patience_ms


class Below:
    """Of every rung of a ladder, the first one first: what is left below it. A rung that does not say what it holds
    counts with what it said last, which does not shrink."""

    def __init__(self, rungs: Sequence[str], little: int, patience_ms: int) -> None:
        self._gates = {rung: Drained(little, patience_ms) for rung in rungs}
        self._told: dict[str, Backlogs] = {}

    def saw(self, away: Collection[str], backlogs: Mapping[str, Backlogs], now_ms: int) -> frozenset[str]:
        """Those of the rungs that are away that are not to be taken up yet. backlogs: of the rungs that told them."""
        self._told.update(backlogs)
        below: Counter[str] = Counter()
        waiting = set()
        for rung, gate in reversed(self._gates.items()):
            if rung not in away:
                gate.reset()
            elif not gate.saw(below, now_ms):
                waiting.add(rung)
            below.update(self._told.get(rung, {}))
        return frozenset(waiting)
