"""The queues of a ladder, asked one after the other: one that is away hides nothing of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from evermq.daemon.running import say, status_of
from evermq.errors import EvermqError

__all__ = ["Children"]


class Children:
    """status: 0, or the exit status for the first that failed; each is told on standard error as it fails, and where
    there is one alone its error is raised."""

    def __init__(self, urls: Collection[str]) -> None:
        self._count = len(urls)
        self.status = 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around what is asked of one."""
        try:
            yield
        except EvermqError as error:
            if self._count == 1:
                raise
            say(f"evermq: {error}")
            self.status = self.status or status_of(error)
