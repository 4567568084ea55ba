"""How far a long command is, for who looks at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from evermq.daemon.running import is_terminal

__all__ = ["counting"]


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """To be told how many are done, and of how many; nothing is shown where nobody looks."""
    if not is_terminal(sys.stderr):
        yield lambda done, count: None
        return
    with Console(stderr=True).status(what) as status:
        yield lambda done, count: status.update(f"{done} of {count} {what}")
