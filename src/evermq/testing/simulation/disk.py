"""A disk that forgets what was not synced, in every way a real one may.

A workload runs once; every operation is written down as a numbered step. Afterwards `power_cut(step)` and
`kill(step)` give the disk as it may be found when the power went, or the process died, in the middle of that step.
Sectors of 512 bytes are written whole or not at all; names are volatile until `sync_names`.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from evermq.testing.simulation.image import Image, Step

__all__ = ["FakeDisk", "FakeFile", "Faults"]


@dataclass(slots=True)
class Faults:
    """What goes wrong, by number of the call of its kind, counted from 1.

    eio_writes, eio_syncs: these fail with EIO (a synced write counts as both). eio_for_ever: and all after them.
    full: while true, creating and growing fail with ENOSPC. lying_sync: sync says OK and does nothing.
    """

    eio_writes: set[int] = field(default_factory=set)
    eio_syncs: set[int] = field(default_factory=set)
    eio_for_ever: bool = False
    full: bool = False
    lying_sync: bool = False
    writes: int = 0
    syncs: int = 0
    bitten: int = 0

    def on_write(self) -> bool:
        self.writes += 1
        return self._bites(self.writes, self.eio_writes)

    def on_sync(self) -> bool:
        self.syncs += 1
        return self._bites(self.syncs, self.eio_syncs)

    def _bites(self, count: int, at: set[int]) -> bool:
        bites = count in at or (self.eio_for_ever and bool(at) and count > min(at))
        self.bitten += bites
        return bites


class FakeDisk:
    """See `evermq.adapters.log.disk.Disk`. `steps`: how many operations were done."""

    def __init__(self, image: Image | None = None, faults: Faults | None = None) -> None:
        self._begin = image.copy() if image else Image()
        self._now = self._begin.copy()
        self._journal: list[Step] = []
        self._inodes = max([*self._begin.files, 0])
        self._replayed = self._begin.copy()
        self._replayed_to = 0
        self.faults = faults or Faults()

    @property
    def steps(self) -> int:
        return len(self._journal)

    def names(self) -> list[str]:
        return sorted(self._now.names)

    def create(self, name: str, size: int) -> FakeFile:
        if name in self._now.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        if self.faults.full and size:
            self.faults.bitten += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        self._inodes += 1
        self.do(Step("create", self._inodes, name=name, data=bytes(size)))
        return FakeFile(self, self._inodes)

    def open(self, name: str) -> FakeFile:
        if name not in self._now.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return FakeFile(self, self._now.names[name])

    def rename(self, old: str, new: str) -> None:
        self.do(Step("rename", name=old, other=new))

    def remove(self, name: str) -> None:
        self.do(Step("remove", name=name))

    def sync_names(self) -> None:
        self.do(Step("sync_names"))

    def do(self, step: Step) -> None:
        """Write an operation down and do it."""
        self._journal.append(step)
        self._now.apply(step)

    def content(self, inode: int) -> bytearray:
        return self._now.files[inode]

    def device(self, inode: int) -> bytes:
        """What the device holds once the kernel has written back all it still means to."""
        image = self._begin.copy()
        for step in self._journal:
            image.apply(step)
        return bytes(image.written_back(inode))

    def power_cut(self, step: int, chance: random.Random) -> FakeDisk:
        """The disk after the power went during step number `step` (from 1); steps must not go back."""
        self._replay(step - 1)
        return FakeDisk(self._replayed.after_power_cut(self._at(step), chance))

    def kill(self, step: int, chance: random.Random) -> FakeDisk:
        """The disk after the process was killed during step number `step`; steps must not go back."""
        self._replay(step - 1)
        return FakeDisk(self._replayed.after_kill(self._at(step), chance))

    def rot(self, name: str, offset: int, bit: int) -> None:
        """Flip a bit."""
        self._now.files[self._now.names[name]][offset] ^= 1 << bit

    def image(self) -> Image:
        """The disk as it is now."""
        return self._now.copy()

    def _at(self, step: int) -> Step | None:
        return self._journal[step - 1] if 1 <= step <= len(self._journal) else None

    def _replay(self, to: int) -> None:
        while self._replayed_to < min(to, len(self._journal)):
            self._replayed.apply(self._journal[self._replayed_to])
            self._replayed_to += 1


class FakeFile:
    """See `evermq.adapters.log.disk.File`."""

    def __init__(self, disk: FakeDisk, inode: int) -> None:
        self._disk = disk
        self._inode = inode

    def size(self) -> int:
        return len(self._disk.content(self._inode))

    def pwrite(self, parts: Sequence[bytes | bytearray | memoryview], offset: int, *, sync: bool) -> None:
        data = b"".join(parts)
        faults = self._disk.faults
        if faults.full and offset + len(data) > self.size():
            faults.bitten += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if faults.on_write():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if sync and faults.on_sync():
            # The bytes are in the cache, marked clean; the device never gets them.
            self._disk.do(Step("write", self._inode, offset=offset, data=data))
            self._disk.do(Step("sync_failed", self._inode))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._disk.do(Step("write", self._inode, offset=offset, data=data, sync=sync and not faults.lying_sync))

    def pread(self, count: int, offset: int, *, uncached: bool = False) -> bytes:
        content = self._disk.device(self._inode) if uncached else self._disk.content(self._inode)
        return bytes(content[offset : offset + count])

    def sync(self) -> None:
        if self._disk.faults.on_sync():
            self._disk.do(Step("sync_failed", self._inode))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if not self._disk.faults.lying_sync:
            self._disk.do(Step("sync", self._inode))

    def close(self) -> None:
        pass
