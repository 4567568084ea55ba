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
    """files, names: as programs see them. Behind them the durable ones, and the steps that are not durable yet."""

    def __init__(self) -> None:
        self.files: dict[int, bytearray] = {}
        self.names: dict[str, int] = {}
        self._durable_files: dict[int, bytearray] = {}
        self._durable_names: dict[str, int] = {}
        self._writes: dict[int, list[Step]] = {}
        self._renames: list[Step] = []

    def copy(self) -> Image:
        """A disk that has been running since; files are copied."""
        other = Image()
        other.files = {inode: bytearray(data) for inode, data in self.files.items()}
        other.names = dict(self.names)
        other._durable_files = {inode: bytearray(data) for inode, data in self._durable_files.items()}
        other._durable_names = dict(self._durable_names)
        other._writes = {inode: list(steps) for inode, steps in self._writes.items()}
        other._renames = list(self._renames)
        return other

    def apply(self, step: Step) -> None:
        """Do one operation."""
        match step.verb:
            case "create":
                self.files[step.inode] = bytearray(step.data)
                self._durable_files[step.inode] = bytearray()
                self._writes[step.inode] = [step]
                _rename(self.names, step)
                self._renames.append(step)
            case "write":
                _overwrite(self.files[step.inode], step.offset, step.data)
                if step.sync:
                    _overwrite(self._durable_files[step.inode], step.offset, step.data)
                # Kept even if durable: what was written before it can no longer come out on top.
                self._writes.setdefault(step.inode, []).append(step)
            case "sync":
                self._durable_files[step.inode] = self.written_back(step.inode)
                self._writes[step.inode] = []
            case "sync_failed":
                self._writes[step.inode] = []
            case "rename" | "remove":
                _rename(self.names, step)
                self._renames.append(step)
            case "sync_names":
                for waiting in self._renames:
                    _rename(self._durable_names, waiting)
                self._renames = []

    def written_back(self, inode: int) -> bytearray:
        """The durable content with everything that is still to be written."""
        content = bytearray(self._durable_files[inode])
        for step in self._writes.get(inode, ()):
            _overwrite(content, step.offset, step.data)
        return content

    def after_kill(self, during: Step | None, chance: random.Random) -> Image:
        """Everything done is there; of the write under way, any number of bytes."""
        files = {inode: bytearray(data) for inode, data in self.files.items()}
        if during and during.verb == "write":
            _overwrite(files[during.inode], during.offset, during.data[: chance.randrange(len(during.data) + 1)])
        return _settled(files, dict(self.names))

    def after_power_cut(self, during: Step | None, chance: random.Random) -> Image:
        """What was synced is there; of the rest, and of the step under way, any subset."""
        files = {inode: bytearray(data) for inode, data in self._durable_files.items()}
        share = chance.choice((0.0, 0.3, 0.5, 0.8, 1.0))
        for step in [step for steps in self._writes.values() for step in steps]:
            _tear(files.setdefault(step.inode, bytearray()), step, 1.0 if step.sync else share, chance)
        if during and during.verb == "write":
            _tear(files.setdefault(during.inode, bytearray()), during, share, chance)
        names = dict(self._durable_names)
        renames = [*self._renames, *([during] if during and during.verb in ("create", "rename", "remove") else [])]
        for step in renames[: chance.randint(0, len(renames))]:
            if chance.random() < 0.9:
                _rename(names, step)
        return _settled(files, {name: inode for name, inode in names.items() if inode in files})


def _settled(files: dict[int, bytearray], names: dict[str, int]) -> Image:
    image = Image()
    kept = {inode: files[inode] for inode in names.values()}
    image.files = kept
    image.names = names
    image._durable_files = {inode: bytearray(data) for inode, data in kept.items()}
    image._durable_names = dict(names)
    return image


def _overwrite(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _tear(content: bytearray, step: Step, share: float, chance: random.Random) -> None:
    """Write a random subset of the sectors that a step touches."""
    at = step.offset
    end = at + len(step.data)
    while at < end:
        stop = min(end, (at // _SECTOR + 1) * _SECTOR)
        if chance.random() < share:
            _overwrite(content, at, step.data[at - step.offset : stop - step.offset])
        at = stop


def _rename(names: dict[str, int], step: Step) -> None:
    if step.verb == "create":
        names[step.name] = step.inode
    elif step.verb == "remove":
        names.pop(step.name, None)
    elif step.name in names:
        names[step.other] = names.pop(step.name)
