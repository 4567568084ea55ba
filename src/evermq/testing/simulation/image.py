"""The content of a fake disk: what programs see, what is durable, and what lies between."""

from __future__ import annotations

import random
from typing import NamedTuple

__all__ = ["Image", "Step"]

_SECTOR = 512


class Step(NamedTuple):
    """One operation on a disk."""

    verb: str
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    sync: bool = False
    name: str = ""
    other: str = ""


class Image:
    """files, names: as programs see them. Behind them the durable ones, and the steps that are not durable yet.

    Contents are immutable, so that copies of an image share them.
    """

    __slots__ = ("_durable", "_durable_names", "_renames", "_writes", "files", "names")

    def __init__(self) -> None:
        self.files: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        self._durable: dict[int, bytes] = {}
        self._durable_names: dict[str, int] = {}
        self._writes: dict[int, list[Step]] = {}
        self._renames: list[Step] = []

    def copy(self) -> Image:
        """The same disk, to go another way from here on."""
        other = Image()
        other.files = dict(self.files)
        other.names = dict(self.names)
        other._durable = dict(self._durable)
        other._durable_names = dict(self._durable_names)
        other._writes = {inode: list(steps) for inode, steps in self._writes.items() if steps}
        other._renames = list(self._renames)
        return other

    def apply(self, step: Step) -> None:
        """Do one operation."""
        inode = step.inode
        match step.verb:
            case "write":
                self.files[inode] = _overwrite(self.files[inode], step.offset, step.data)
                waiting = self._writes.setdefault(inode, [])
                if step.sync:
                    self._durable[inode] = _overwrite(self._durable[inode], step.offset, step.data)
                if waiting or not step.sync:
                    # Kept even if durable: what was written before it can no longer come out on top.
                    waiting.append(step)
            case "sync":
                self._durable[inode] = self.written_back(inode)
                self._writes.pop(inode, None)
            case "sync_failed":
                self._writes.pop(inode, None)
            case "create":
                self.files[inode] = step.data
                self._durable[inode] = b""
                self._writes[inode] = [step]
                self._rename(step)
            case "rename" | "remove":
                self._rename(step)
            case "sync_names":
                for each in self._renames:
                    _rename(self._durable_names, each)
                self._renames = []
            case "damage":
                self.files[inode] = self._durable[inode] = step.data
                self._writes.pop(inode, None)

    def written_back(self, inode: int) -> bytes:
        """The durable content with everything that is still to be written."""
        content = self._durable[inode]
        for step in self._writes.get(inode, ()):
            content = _overwrite(content, step.offset, step.data)
        return content

    def after_kill(self, during: Step | None, chance: random.Random) -> Image:
        """Everything done is there, and as volatile as before; of the write under way, any number of bytes."""
        left = self.copy()
        if during and during.verb == "write":
            data = during.data[: chance.randrange(len(during.data) + 1)]
            left.apply(during._replace(data=data, sync=False))
        elif during and chance.random() < 0.5:
            left.apply(during)
        return left

    def after_power_cut(self, during: Step | None, chance: random.Random) -> Image:
        """What was synced is there; of the rest, and of the step under way, any subset."""
        files = dict(self._durable)
        share = chance.choice((0.0, 0.3, 0.5, 0.8, 1.0))
        waiting = [step for steps in self._writes.values() for step in steps]
        if during and during.verb in ("write", "create"):
            waiting.append(during._replace(sync=False))
        for step in waiting:
            files[step.inode] = _torn(files.get(step.inode, b""), step, 1.0 if step.sync else share, chance)
        names = dict(self._durable_names)
        renames = [*self._renames, *([during] if during and during.verb in ("create", "rename", "remove") else [])]
        for step in renames[: chance.randint(0, len(renames))]:
            if chance.random() < 0.9:
                _rename(names, step)
        return _settled(files, names)

    def _rename(self, step: Step) -> None:
        _rename(self.names, step)
        self._renames.append(step)


def _settled(files: dict[int, bytes], names: dict[str, int]) -> Image:
    image = Image()
    image.names = {name: inode for name, inode in names.items() if inode in files}
    image.files = {inode: files[inode] for inode in image.names.values()}
    image._durable = dict(image.files)
    image._durable_names = dict(image.names)
    return image


def _overwrite(content: bytes, offset: int, data: bytes) -> bytes:
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]


def _torn(content: bytes, step: Step, share: float, chance: random.Random) -> bytes:
    """Write a random subset of the sectors that a step touches."""
    if share in (0.0, 1.0):
        return _overwrite(content, step.offset, step.data) if share else content
    at = step.offset
    end = at + len(step.data)
    while at < end:
        stop = min(end, (at // _SECTOR + 1) * _SECTOR)
        if chance.random() < share:
            content = _overwrite(content, at, step.data[at - step.offset : stop - step.offset])
        at = stop
    return content


def _rename(names: dict[str, int], step: Step) -> None:
    if step.verb == "create":
        names[step.name] = step.inode
        return
    # A name leads to a file: where what came before is forgotten, another file may have the name by then.
    if names.get(step.name) == step.inode:
        del names[step.name]
    if step.verb == "rename":
        names[step.other] = step.inode
