"""One process owns a directory: a lock that the kernel drops with its holder, however that dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from evermq.errors import Fenced, Unavailable

__all__ = ["Owned", "OwnerLock"]


class Owned(Unavailable):
    """Another process owns the directory. `pid`: which, 0 if it did not say."""

    def __init__(self, directory: Path, pid: int) -> None:
        super().__init__(f"{directory} is owned by process {pid or 'unknown'}: use it through that process, or end it")
        self.pid = pid


class OwnerLock:
    """Held from construction to `release`. Raises Owned.

    The lock file is compared with its path, since a lock on a file that was unlinked guards nothing.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._pid = os.getpid()
        self._fd = self._acquire(directory)

    def _acquire(self, directory: Path) -> int:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(fd, 20, 0).strip()
                os.close(fd)
                raise Owned(directory, int(pid) if pid.isdigit() else 0) from None
            if self._is_at_path(fd):
                os.ftruncate(fd, 0)
                os.pwrite(fd, b"%d" % self._pid, 0)
                return fd
            os.close(fd)

    def _is_at_path(self, fd: int) -> bool:
        mine = os.fstat(fd)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def check(self) -> None:
        """Raise Fenced in a forked child, and where somebody removed the lock file."""
        if os.getpid() != self._pid:
            raise Fenced("this log was opened before a fork: open it again in the child, it will use the parent's")
        if self._fd < 0 or not self._is_at_path(self._fd):
            raise Fenced(f"{self._path} was removed while in use: close this log and open it again")

    def release(self) -> None:
        """Let the next owner in; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
