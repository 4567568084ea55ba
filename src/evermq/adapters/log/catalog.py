"""Topics and groups of a directory: a small file, kept twice, replaced whole before anything relies on it."""

from __future__ import annotations

import crc32c
import msgspec

from evermq.adapters.log.disk import Disk
from evermq.adapters.log.segment import FORMAT
from evermq.errors import Damaged

__all__ = ["Catalog", "GroupRecord", "TopicRecord"]

_COPIES = ("catalog-a", "catalog-b")


class TopicRecord(msgspec.Struct, kw_only=True):
    """A topic. `number` is never used again."""

    number: int
    name: str
    lanes: int
    created_ms: int


class GroupRecord(msgspec.Struct, kw_only=True):
    """A group of a topic. `starts`: the offset it began at, for each lane."""

    number: int
    topic: int
    name: str
    starts: list[int]


class _Content(msgspec.Struct, kw_only=True):
    format: int = FORMAT
    generation: int = 0
    numbers: int = 0
    topics: list[TopicRecord] = []
    groups: list[GroupRecord] = []


class Catalog:
    """Reads the newer intact copy when made. Raises Damaged if there is none, or if a newer evermq wrote it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._content = self._load()

    @property
    def topics(self) -> list[TopicRecord]:
        return self._content.topics

    @property
    def groups(self) -> list[GroupRecord]:
        return self._content.groups

    def number(self) -> int:
        """A number that no topic and no group has."""
        self._content.numbers += 1
        return self._content.numbers

    def save(self) -> None:
        """Make the present content durable, in both copies. OSError where the disk refuses."""
        self._content.generation += 1
        encoded = msgspec.json.format(msgspec.json.encode(self._content), indent=1)
        whole = b"%08x\n%s\n" % (crc32c.crc32c(encoded), encoded)
        for name in _COPIES:
            self._replace(name, whole)

    def _replace(self, name: str, whole: bytes) -> None:
        fresh = f"{name}-new"
        if fresh in self._disk.names():
            self._disk.remove(fresh)
        file = self._disk.create(fresh, 0)
        try:
            file.pwrite([whole], 0, sync=False)
            file.sync()
        finally:
            file.close()
        self._disk.rename(fresh, name)
        self._disk.sync_names()

    def _load(self) -> _Content:
        names = [name for name in _COPIES if name in self._disk.names()]
        found = [content for name in names if (content := self._read(name))]
        if not found and names:
            raise Damaged(
                "catalog-a and catalog-b are both damaged: put one of them back from a copy; the segments are untouched"
            )
        return max(found, key=lambda content: content.generation, default=_Content())

    def _read(self, name: str) -> _Content | None:
        file = self._disk.open(name)
        try:
            whole = file.pread(file.size(), 0)
        finally:
            file.close()
        crc, _, encoded = whole.partition(b"\n")
        encoded = encoded.rstrip(b"\n")
        if crc != b"%08x" % crc32c.crc32c(encoded):
            return None
        version = msgspec.json.decode(encoded)["format"]
        if version > FORMAT:
            raise Damaged(f"{name} has format version {version}, this evermq reads up to {FORMAT}: use a newer evermq")
        return msgspec.json.decode(encoded, type=_Content)
