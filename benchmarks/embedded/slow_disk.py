"""A disk whose flush takes longer: what a log is handed to see how it does on a slow one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from evermq.adapters.log.disk import Disk, File

__all__ = ["SlowDisk"]


class _SlowFile:
    def __init__(self, file: File, slower_by_s: float) -> None:
        self._file = file
        self._slower_by_s = slower_by_s
        self.size, self.pread, self.close = file.size, file.pread, file.close

    def pwrite(self, parts: Sequence[bytes | bytearray | memoryview], offset: int, *, sync: bool) -> None:
        self._file.pwrite(parts, offset, sync=sync)
        if sync:
            time.sleep(self._slower_by_s)

    def sync(self) -> None:
        self._file.sync()
        time.sleep(self._slower_by_s)


class SlowDisk:
    """Another disk, with `slower_by_s` seconds added to every flush of a file."""

    def __init__(self, disk: Disk, slower_by_s: float) -> None:
        self._disk = disk
        self._slower_by_s = slower_by_s
        self.names, self.rename, self.remove, self.sync_names = disk.names, disk.rename, disk.remove, disk.sync_names
        self.capacity, self.reserve, self.reserved = disk.capacity, disk.reserve, disk.reserved

    def create(self, name: str, size: int) -> File:
        return _SlowFile(self._disk.create(name, size), self._slower_by_s)

    def open(self, name: str) -> File:
        return _SlowFile(self._disk.open(name), self._slower_by_s)
