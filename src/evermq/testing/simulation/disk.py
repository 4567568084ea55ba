"""A disk that forgets what was not synced, in every way a real one may.

A workload runs once; every operation is written down as a numbered step. Afterwards `power_cut(step)` and
`kill(step)` give the disk as it may be found when the power went, or the process died, in the middle of that step.
Sectors of 512 bytes are written whole or not at all; names are volatile until `sync_names`; a process that was killed
leaves what it wrote as volatile as it was.
"""

from __future__ import annotations

import errno
import os
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from evermq.testing.simulation.image import Image, Step

__all__ = ["FakeDisk", "FakeFile", "Faults"]

_GROWS = ("create", "write", "rename")  # may need room


@dataclass(slots=True)
class Faults:
    """What goes wrong.

    fail_at: the call of this number, counted from 1 over all calls that change something (of these verbs, if any are
    named), fails with `code`; for_ever: and all after it. ENOSPC meets only calls that need room.
    full: while true, creating and growing fail with ENOSPC. lying_sync: the share of all syncs that say OK and do
    nothing, drawn from `chance`. calls, bitten: how many there were, and how many failed.
    """

    fail_at: int = 0
    code: int = errno.EIO
    for_ever: bool = False
    verbs: tuple[str, ...] = ()
    full: bool = False
    lying_sync: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    calls: int = 0
    bitten: int = 0

    def hits(self, verb: str) -> bool:
        """Count a call; whether it fails."""
        if (self.verbs and verb not in self.verbs) or (self.code == errno.ENOSPC and verb not in _GROWS):
            return False
        self.calls += 1
        hit = bool(self.fail_at) and (self.calls == self.fail_at or (self.for_ever and self.calls > self.fail_at))
        self.bitten += hit
        return hit

    def lies(self) -> bool:
        """Whether a sync that says OK does nothing."""
        lie = bool(self.lying_sync) and self.chance.random() < self.lying_sync
        self.bitten += lie
        return lie

    def check(self, verb: str, name: str = "") -> None:
        """Count a call that does nothing when it fails."""
        if self.hits(verb):
            raise self.error(name)

    def check_room(self, grows: bool, name: str = "") -> None:
        if self.full and grows:
            self.bitten += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def error(self, name: str = "") -> OSError:
        return OSError(self.code, os.strerror(self.code), name)


class FakeDisk:
    """See `evermq.adapters.log.disk.Disk`. `steps`: how many operations were done."""

    def __init__(self, image: Image | None = None, faults: Faults | None = None) -> None:
        begin = image or Image()
        self._now = begin.copy()
        self._replayed = begin.copy()
        self._replayed_to = 0
        self._journal: list[Step] = []
        self._inodes = max([*begin.files, 0])
        self._syncs: list[tuple[int, str]] = []
        self._failed_syncs: list[tuple[int, str]] = []
        self.faults = faults or Faults()

    @property
    def steps(self) -> int:
        return len(self._journal)

    def names(self) -> list[str]:
        return sorted(self._now.names)

    def create(self, name: str, size: int) -> FakeFile:
        if name in self._now.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        self.faults.check_room(size > 0, name)
        self.faults.check("create", name)
        self._inodes += 1
        self.do(Step("create", self._inodes, name=name, data=bytes(size)))
        return FakeFile(self, self._inodes)

    def open(self, name: str) -> FakeFile:
        return FakeFile(self, self._inode(name))

    def rename(self, old: str, new: str) -> None:
        inode = self._inode(old)
        self.faults.check("rename", old)
        self.do(Step("rename", inode, name=old, other=new))

    def remove(self, name: str) -> None:
        inode = self._inode(name)
        self.faults.check("remove", name)
        self.do(Step("remove", inode, name=name))

    def sync_names(self) -> None:
        self.faults.check("sync_names")
        if not self.faults.lies():
            self.do(Step("sync_names"))

    def capacity(self) -> int:
        """It never fills up byte by byte, so nothing is reserved on it."""
        return 0

    def reserve(self, name: str, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def reserved(self, name: str) -> int:
        return 0

    def do(self, step: Step) -> None:
        """Write an operation down and do it."""
        self._journal.append(step)
        self._now.apply(step)

    def content(self, inode: int) -> bytes:
        return self._now.files[inode]

    def device(self, inode: int) -> bytes:
        """What the device holds once the kernel has written back all it still means to."""
        return self._now.written_back(inode)

    def syncs(self, prefix: str) -> list[int]:
        """The steps that flushed a file whose name began so at the time, and was not a preliminary one."""
        return _of(self._syncs, prefix)

    def failed_syncs(self, prefix: str) -> list[int]:
        """The steps that were to flush such a file and failed."""
        return _of(self._failed_syncs, prefix)

    def replacements(self, prefix: str) -> list[int]:
        """The steps by which a new file with such a name was durably in its place."""
        renames = [i for i, step in enumerate(self._journal) if step.verb == "rename" and step.other.startswith(prefix)]
        syncs = [i for i, step in enumerate(self._journal) if step.verb == "sync_names"]
        return [syncs[at] + 1 for rename in renames if (at := bisect_right(syncs, rename)) < len(syncs)]

    def synced(self, inode: int) -> None:
        """A file was flushed."""
        self.do(Step("sync", inode))
        self._syncs.append((self.steps, self._name(inode)))

    def sync_failed(self, inode: int) -> None:
        """A flush failed, and what it was to flush is lost."""
        self.do(Step("sync_failed", inode))
        self._failed_syncs.append((self.steps, self._name(inode)))

    def renamed(self, old: str, new: str) -> int:
        """How many files whose name began with `old` were given one that begins with `new`."""
        renames = (step for step in self._journal if step.verb == "rename")
        return sum(step.name.startswith(old) and step.other.startswith(new) for step in renames)

    def power_cut(self, step: int, chance: random.Random) -> FakeDisk:
        """The disk after the power went during step number `step` (from 1); steps must not go back."""
        self._replay(step - 1)
        return FakeDisk(self._replayed.after_power_cut(self._at(step), chance))

    def kill(self, step: int, chance: random.Random) -> FakeDisk:
        """The disk after the process was killed during step number `step`; steps must not go back."""
        self._replay(step - 1)
        return FakeDisk(self._replayed.after_kill(self._at(step), chance))

    def damage(self, name: str, content: bytes) -> None:
        """This is what the file holds now, in the cache and on the device, and nobody was told."""
        self.do(Step("damage", self._inode(name), data=content))

    def rot(self, name: str, offset: int, bit: int) -> None:
        """Flip a bit."""
        content = bytearray(self.content(self._inode(name)))
        content[offset] ^= 1 << bit
        self.damage(name, bytes(content))

    def image(self) -> Image:
        """The disk as it is now."""
        return self._now.copy()

    def _name(self, inode: int) -> str:
        return next((name for name, number in self._now.names.items() if number == inode), "")

    def _inode(self, name: str) -> int:
        if name not in self._now.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._now.names[name]

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
        faults.check_room(offset + len(data) > self.size())
        if faults.hits("write"):
            # Some of it went into the cache before the error.
            self._disk.do(Step("write", self._inode, offset=offset, data=data[: len(data) // 2]))
            raise faults.error()
        if sync and faults.hits("sync"):
            # The bytes are in the cache, marked clean; the device never gets them.
            self._disk.do(Step("write", self._inode, offset=offset, data=data))
            self._disk.do(Step("sync_failed", self._inode))
            raise faults.error()
        self._disk.do(Step("write", self._inode, offset=offset, data=data, sync=sync and not faults.lies()))

    def pread(self, count: int, offset: int, *, uncached: bool = False) -> bytes:
        content = self._disk.device(self._inode) if uncached else self._disk.content(self._inode)
        return content[offset : offset + count]

    def sync(self) -> None:
        if self._disk.faults.hits("sync"):
            self._disk.sync_failed(self._inode)
            raise self._disk.faults.error()
        if not self._disk.faults.lies():
            self._disk.synced(self._inode)

    def close(self) -> None:
        pass


def _of(steps: list[tuple[int, str]], prefix: str) -> list[int]:
    return [step for step, name in steps if name.startswith(prefix) and not name.endswith("-new")]
