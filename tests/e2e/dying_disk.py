"""The machine's disk, with an end: at the Nth call the process kills itself, before, after or in the middle of it."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evermq.adapters.log.disk import File
from evermq.adapters.log.system_disk import SystemDisk

Hook = Callable[[str, Callable[[], None] | None], None]


class HookedFile:
    """See `evermq.adapters.log.disk.File`; a hook is told of each call that changes something, before and after it."""

    def __init__(self, file: File, hook: Hook) -> None:
        self._file = file
        self._hook = hook
        self.size = file.size
        self.pread = file.pread
        self.close = file.close

    def pwrite(self, parts: Sequence[bytes | bytearray | memoryview], offset: int, *, sync: bool) -> None:
        whole = b"".join(parts)
        self._hook("write", lambda: self._file.pwrite([whole[: len(whole) // 2]], offset, sync=False))
        if sync:
            self._hook("sync", lambda: self._file.pwrite([whole], offset, sync=False))
        self._file.pwrite(parts, offset, sync=sync)
        self._hook("after", None)

    def sync(self) -> None:
        self._hook("sync", None)
        self._file.sync()
        self._hook("after", None)


class HookedDisk(SystemDisk):
    """See `evermq.adapters.log.disk.Disk`. hook(kind, half): kind is write, sync, name or after; half: does the half
    of what is about to be done, where it has one."""

    def __init__(self, directory: Path, hook: Hook) -> None:
        super().__init__(directory)
        self._hook = hook

    def create(self, name: str, size: int) -> Any:
        self._hook("name", None)
        return HookedFile(super().create(name, size), self._hook)

    def open(self, name: str) -> Any:
        return HookedFile(super().open(name), self._hook)

    def rename(self, old: str, new: str) -> None:
        self._hook("name", None)
        super().rename(old, new)
        self._hook("after", None)

    def remove(self, name: str) -> None:
        self._hook("name", None)
        super().remove(name)
        self._hook("after", None)

    def sync_names(self) -> None:
        self._hook("sync", None)
        super().sync_names()


def die_at(number: int, *, torn: bool) -> Hook:
    """A hook that kills this process at call `number`."""
    left = number

    def hook(kind: str, half: Callable[[], None] | None) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            if torn and half:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


class FailAt:
    """A hook that fails call `number` of a kind (write or sync) with EIO, and all later ones if `for_ever`."""

    def __init__(self, kind: str, number: int, *, for_ever: bool) -> None:
        self._kind = kind
        self._left = number
        self._for_ever = for_ever
        self.bitten = 0

    def __call__(self, kind: str, half: Callable[[], None] | None) -> None:
        if kind != self._kind:
            return
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self._for_ever):
            self.bitten += 1
            if half:
                half()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
