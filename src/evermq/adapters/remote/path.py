"""Socket paths: of any length, though the kernel takes 107 bytes, and whose the socket there is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["BoundSocket", "socket_address"]

_PATH_BYTES_MAX = 100


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """The path to bind or connect to; a long one goes through a descriptor of its directory."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class BoundSocket:
    """The socket that this process has just bound to `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pid = os.getpid()
        self._file = _file_at(path)

    @property
    def is_mine(self) -> bool:
        """Not in a forked child."""
        return os.getpid() == self._pid

    def remove(self) -> None:
        """Unless another one is at its path by now: the directory may have been moved, and be another owner's."""
        with contextlib.suppress(OSError):  # one that stays, on a disk that is read-only, is replaced by the next owner
            if self.is_mine and _file_at(self._path) == self._file:
                self._path.unlink()


def _file_at(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
