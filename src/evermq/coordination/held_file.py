"""A file that is somebody's as long as they lock it and stamp it: how processes of one machine see who lives.

The kernel drops the lock with its holder, however that dies. A holder that is frozen keeps its lock but stamps no more,
so the stamp counts as well. It is the file's time of change, set to the machine's monotonic clock: that one is the same
for all processes, and no correction of the wall clock makes everybody look dead.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Self

__all__ = ["HeldFile", "content_of", "is_left", "living"]


class HeldFile:
    """Made by `take`, kept by `stamp`, given up by `drop`."""

    def __init__(self, path: Path, ttl_ms: int) -> None:
        self._path = path
        self._ttl_ms = ttl_ms
        self._fd = -1

    @classmethod
    def take(cls, path: Path, content: bytes, ttl_ms: int) -> Self:
        """Hold the file from now on, whoever held it before."""
        held = cls(path, ttl_ms)
        held.write(content)
        return held

    def write(self, content: bytes) -> None:
        """Let it say something else; readers see the one or the other, whole."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, b"%d\n" % self._ttl_ms + content)
            _stamp(fd)
            beside.rename(self._path)
        except BaseException:
            os.close(fd)
            raise
        self._let_go()
        self._fd = fd

    @property
    def mine(self) -> bool:
        """Whether the file at the path is still the one that is held here."""
        return self._fd >= 0 and _is_at(self._fd, self._path)

    def stamp(self) -> None:
        """Say that the holder lives."""
        if self._fd >= 0:
            _stamp(self._fd)

    def drop(self, *, remove: bool) -> None:
        """Give it up; `remove`: and take the file away, if it is still one's own."""
        if remove and self.mine:
            self._path.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def living(path: Path) -> bytes | None:
    """What the file says, None where nobody holds it or its holder was silent for longer than it may be."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        ttl, _, content = _read(fd).partition(b"\n")
        silent_ms = (time.monotonic_ns() - os.fstat(fd).st_mtime_ns) // 1_000_000
        return content if ttl.isdigit() and silent_ms <= int(ttl) and _is_locked(fd) else None
    finally:
        os.close(fd)


def is_left(path: Path) -> bool:
    """Whether its holder is dead: one that lives, though frozen, has locked it before it came to be there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _is_locked(fd) and _is_at(fd, path)  # else a holder has just said something else, in another file
    finally:
        os.close(fd)


def content_of(path: Path) -> bytes:
    """What the file says, or said when its holder left it; empty where there is none."""
    try:
        return path.read_bytes().partition(b"\n")[2]
    except FileNotFoundError:
        return b""


def _is_at(fd: int, path: Path) -> bool:
    """Whether it is the file that the path leads to."""
    try:
        there = path.stat()
    except OSError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _read(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that those who look do not see each other
    except BlockingIOError:
        return True
    return False


def _stamp(fd: int) -> None:
    now_ns = time.monotonic_ns()
    os.utime(fd, ns=(now_ns, now_ns))
