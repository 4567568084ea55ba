"""Repeats a piece of work for a while, and tells how fast it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TypeVar

__all__ = ["per_second", "spans_per_second"]

Piece = TypeVar("Piece")


def per_second(work: Callable[[Piece], object], pieces: Sequence[Piece], seconds: float) -> float:
    """How many pieces a second go through `work`, which gets them in turn."""
    clock = time.perf_counter
    begin = clock()
    end = begin + seconds
    done = 0
    for piece in cycle(pieces):
        work(piece)
        done += 1
        if clock() >= end:
            break
    return done / (clock() - begin)


def spans_per_second(span: Callable[[], tuple[int, float]], seconds: float) -> float:
    """For work that needs something prepared each time: span() returns what was done, and in how many seconds."""
    done, took = 0, 0.0
    while took < seconds:
        count, more = span()
        done += count
        took += more
    return done / took
