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

    The lock is on the directory itself, so that no file can be removed from under it; the file `lock` only says whose
    it is. The directory is compared with its path, since the log renames files by path.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pid = os.getpid()
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._name_owner()
        except BlockingIOError:
            self.release()
            raise Owned(directory, _owner_of(directory)) from None
        except BaseException:
            self.release()
            raise

    def _name_owner(self) -> None:
        """Over what an earlier owner wrote there, so that a full disk has room for it."""
        fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, b"%-20d\n" % self._pid, 0)
        finally:
            os.close(fd)

    def check(self) -> None:
        """Raise Fenced in a forked child, and where the directory was moved or removed."""
        if os.getpid() != self._pid:
            raise Fenced("this log was opened before a fork: open it again in the child, it will use the parent's")
        if self._fd < 0 or not self._is_at_path():
            raise Fenced(f"{self._directory} was moved or removed while in use: close this log and open it again")

    def _is_at_path(self) -> bool:
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self._directory)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        """Let the next owner in; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _owner_of(directory: Path) -> int:
    """The process that said it owns the directory, 0 where none says so."""
    try:
        pid = (directory / "lock").read_bytes()[:20].strip()
    except OSError:
        return 0
    return int(pid) if pid.isdigit() else 0
