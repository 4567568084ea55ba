"""May a rung be taken up again, while the one below still holds messages? Pure.

New messages above would overtake what waits below: readers that keep order would have to hold them all. So the return
waits until little is left below; but not for a group that nobody reads, whose backlog does not shrink.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Drained"]


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

    def saw(self, backlogs: Mapping[str, int], now_ms: int) -> bool:
        """Whether nothing has to be waited for, by what each group has left below."""
        done = [self._is_done(group, backlog, now_ms) for group, backlog in backlogs.items()]
        return all(done)

    def _is_done(self, group: str, backlog: int, now_ms: int) -> bool:
        least, since_ms = self._least.get(group, (backlog + 1, now_ms))
        if backlog < least:
            self._least[group] = backlog, now_ms
            since_ms = now_ms
        return backlog <= self._little or now_ms - since_ms >= self._patience_ms
