"""Offsets of a lane that were handed out and are not settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

__all__ = ["Outstanding"]

_NONE = range(0)


class Outstanding:
    """A set of offsets. What was handed out last is kept as the one run that it is, since a reader that acknowledges
    in order then costs nothing for each offset; a run that anything else is taken from becomes a plain set."""

    __slots__ = ("_others", "_run")

    def __init__(self) -> None:
        self._run = _NONE
        self._others: set[int] = set()

    def __len__(self) -> int:
        return len(self._run) + len(self._others)

    def __iter__(self) -> Iterator[int]:
        return chain(self._run, self._others)

    def __contains__(self, offset: object) -> bool:
        return offset in self._run or offset in self._others

    def add_run(self, run: range) -> None:
        """Offsets that lie behind all others."""
        if self._run and self._run.stop == run.start:
            run = range(self._run.start, run.stop)
        else:
            self._spread()
        self._run = run

    def update(self, offsets: Iterable[int]) -> None:
        """Add these as well."""
        self._others.update(offsets)

    def take(self, offsets: Iterable[int]) -> range | set[int]:
        """Which of these are in it; they are not any more."""
        run = self._run
        if isinstance(offsets, range) and offsets and run and offsets.start == run.start and offsets.stop <= run.stop:
            self._run = range(offsets.stop, run.stop)
            return offsets
        self._spread()
        found = self._others.intersection(offsets)
        self._others -= found
        return found

    def clear(self) -> None:
        """Nothing is handed out any more."""
        self._run = _NONE
        self._others.clear()

    def _spread(self) -> None:
        self._others.update(self._run)
        self._run = _NONE
