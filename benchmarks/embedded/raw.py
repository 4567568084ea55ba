"""The limit: one writer that does nothing but write bodies to a segment that was written before, and flush."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle

from embedded.messages import joined_bodies
from embedded.workbench import Workbench
from rig.contender import Contender, Measure

__all__ = ["raw"]

_SEGMENT_BYTES = 64 << 20
_TRIAL_SECONDS = 0.05
Write = Callable[[int, bytes, int], None]


def raw(bench: Workbench, group: int, size: int, *, slower_by_s: float = 0.0) -> Contender:
    """Groups of `group` bodies of `size` bytes; the flush takes `slower_by_s` more."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        path = bench.directory / "raw-segment"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _fill(fd)
            groups = joined_bodies(group, size)
            writes = [_write_and_sync, _write_dsync] if hasattr(os, "RWF_DSYNC") else [_write_and_sync]
            trials = [(_rate(fd, groups, write, 0.0, _TRIAL_SECONDS), write) for write in writes * 2]
            fastest = max(trials, key=lambda trial: trial[0])[1]
            yield lambda seconds: group * _rate(fd, groups, fastest, slower_by_s, seconds)
        finally:
            os.close(fd)

    slow = f", +{slower_by_s * 1000:g} ms" if slower_by_s else ""
    return Contender(f"raw write+fdatasync, groups of {group} x {size} B{slow}", ready)


def _fill(fd: int) -> None:
    """Only blocks that were written before are fast to write: the log recycles, so the reference does."""
    if os.fstat(fd).st_size < _SEGMENT_BYTES:
        for offset in range(0, _SEGMENT_BYTES, 1 << 20):
            os.pwrite(fd, os.urandom(1 << 20), offset)
        os.fsync(fd)


def _rate(fd: int, groups: list[bytes], write: Write, slower_by_s: float, seconds: float) -> float:
    """Groups a second."""
    step = len(groups[0])
    offset = written = 0
    begin = time.perf_counter()
    end = begin + seconds
    for group in cycle(groups):
        write(fd, group, offset)
        if slower_by_s:
            time.sleep(slower_by_s)
        written += 1
        offset += step
        if offset + step > _SEGMENT_BYTES:
            offset = 0
        if time.perf_counter() >= end:
            break
    return written / (time.perf_counter() - begin)


def _write_and_sync(fd: int, group: bytes, offset: int) -> None:
    os.pwrite(fd, group, offset)
    os.fdatasync(fd)


def _write_dsync(fd: int, group: bytes, offset: int) -> None:
    os.pwritev(fd, [group], offset, os.RWF_DSYNC)
