"""A directory of the machine as the log's disk."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SystemDisk"]

_IOV_MAX = os.sysconf("SC_IOV_MAX") if "SC_IOV_MAX" in os.sysconf_names else 1024
_ZEROS = bytes(1 << 20)
_ALIGN = 4096
_DSYNC = getattr(os, "RWF_DSYNC", 0)


class _SystemFile:
    """A file descriptor; write calls are repeated until all is written."""

    def __init__(self, path: Path, flags: int) -> None:
        self._path = path
        self._fd = -1
        self._fd = os.open(path, flags | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def pwrite(self, parts: Sequence[bytes | bytearray | memoryview], offset: int, *, sync: bool) -> None:
        if len(parts) == 1 and _DSYNC:
            written = os.pwritev(self._fd, parts, offset, _DSYNC if sync else 0)
            if written == len(parts[0]):
                return
        one_call = len(parts) <= _IOV_MAX and _DSYNC
        flags = _DSYNC if sync and one_call else 0
        for first in range(0, len(parts), _IOV_MAX):
            offset = self._write_whole(parts[first : first + _IOV_MAX], offset, flags)
        if sync and not one_call:
            os.fdatasync(self._fd)

    def _write_whole(self, parts: Sequence[bytes | bytearray | memoryview], offset: int, flags: int) -> int:
        wanted = sum(map(len, parts))
        written = os.pwritev(self._fd, parts, offset, flags)
        while written < wanted:
            rest = memoryview(b"".join(parts))[written:]
            written += os.pwritev(self._fd, [rest], offset + written, flags)
        return offset + wanted

    def pread(self, count: int, offset: int, *, uncached: bool = False) -> bytes:
        if uncached:
            return self._read_device(count, offset)
        data = os.pread(self._fd, count, offset)
        while data and len(data) < count:
            more = os.pread(self._fd, count - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def _read_device(self, count: int, offset: int) -> bytes:
        """What the device holds: after a failed flush the cache may show what was never written."""
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError:
            return self.pread(count, offset)  # tmpfs and others have no direct reads
        try:
            return _read_aligned(fd, count, offset)
        except OSError:
            return self.pread(count, offset)
        finally:
            os.close(fd)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        # A recycled segment may still be read for a moment, so the last user closes it.
        self.close()


def _read_aligned(fd: int, count: int, offset: int) -> bytes:
    begin = offset // _ALIGN * _ALIGN
    span = -(-(offset + count - begin) // _ALIGN) * _ALIGN
    if span <= 0:
        return b""
    with mmap.mmap(-1, span) as buffer:
        read = os.preadv(fd, [buffer], begin)
        return buffer[offset - begin : min(read, offset + count - begin)]


def _make_durably(directory: Path) -> None:
    """Make a directory and what is missing above it; their names survive the power too."""
    if directory.is_dir():
        return
    if directory.parent != directory:
        _make_durably(directory.parent)
    directory.mkdir(exist_ok=True, mode=0o700)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class SystemDisk:
    """The files of one directory, which is made if it is missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        _make_durably(directory)

    def names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self.directory) if entry.is_file())

    def create(self, name: str, size: int) -> _SystemFile:
        """Written zeros, not just reserved ones: only blocks that were written are fast to write again."""
        path = self.directory / name
        if size > self._room():  # do not fill the disk to find out
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        file = _SystemFile(path, os.O_CREAT | os.O_EXCL)
        try:
            for offset in range(0, size, len(_ZEROS)):
                file.pwrite([_ZEROS[: size - offset]], offset, sync=False)
        except OSError:
            file.close()
            path.unlink()
            raise
        return file

    def open(self, name: str) -> _SystemFile:
        return _SystemFile(self.directory / name, 0)

    def rename(self, old: str, new: str) -> None:
        os.rename(self.directory / old, self.directory / new)

    def remove(self, name: str) -> None:
        os.unlink(self.directory / name)

    def capacity(self) -> int:
        space = os.statvfs(self.directory)
        return space.f_frsize * space.f_blocks

    def _room(self) -> int:
        space = os.statvfs(self.directory)
        return space.f_frsize * space.f_bavail

    def reserve(self, name: str, size: int) -> None:
        fd = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            has = os.fstat(fd).st_size
            if size <= has:
                os.ftruncate(fd, size)
                return
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError:
                os.ftruncate(fd, has)  # what it got of it goes back
                raise
        finally:
            os.close(fd)

    def reserved(self, name: str) -> int:
        try:
            return (self.directory / name).stat().st_size
        except FileNotFoundError:
            return 0

    def sync_names(self) -> None:
        _sync_directory(self.directory)
