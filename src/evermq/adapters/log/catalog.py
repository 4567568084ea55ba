"""Topics and groups of a directory: a small file, kept twice, replaced whole before anything relies on it."""

from __future__ import annotations

from collections.abc import Sequence

import crc32c
import msgspec

from evermq.adapters.log.disk import Disk
from evermq.adapters.log.segment import FORMAT, number_of
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


class _Version(msgspec.Struct):
    format: int


class Catalog:
    """Reads the newer intact copy when made. `damaged`: copies that are not intact.

    Raises Damaged if there is none, or if a newer evermq wrote it.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.damaged: list[str] = []
        self._content = self._load()

    @property
    def topics(self) -> Sequence[TopicRecord]:
        return self._content.topics

    @property
    def groups(self) -> Sequence[GroupRecord]:
        return self._content.groups

    def number(self) -> int:
        """A number that no topic and no group has."""
        self._content.numbers += 1
        return self._content.numbers

    def reach(self, number: int) -> None:
        """Numbers up to this one were given, whatever the catalog remembers: what was written under one that a disk
        forgot must not be taken for another topic's or group's."""
        self._content.numbers = max(self._content.numbers, number)

    def add_topic(self, record: TopicRecord) -> None:
        """Durably. OSError where the disk refuses: then the topic does not exist."""
        self._save([*self.topics, record], self._content.groups)

    def add_group(self, record: GroupRecord) -> None:
        """Durably, in the place of one of its name. OSError where the disk refuses: then nothing changes."""
        others = [each for each in self.groups if (each.topic, each.name) != (record.topic, record.name)]
        self._save(self._content.topics, [*others, record])

    def drop_topic(self, number: int) -> None:
        """Durably, with its groups. OSError where the disk refuses: then it exists on, unless a crash may already find
        it gone. What came to it then would be lost, so it is gone for us as well."""
        topics = [topic for topic in self.topics if topic.number != number]
        self._save(topics, [group for group in self.groups if group.topic != number], drops=True)

    def has_topic(self, number: int) -> bool:
        return any(topic.number == number for topic in self.topics)

    def _save(self, topics: list[TopicRecord], groups: list[GroupRecord], *, drops: bool = False) -> None:
        """Make this the content, in both copies. Where that fails nobody is told of it, and it is not kept; drops: but
        for what a crash may find in one of them."""
        now = self._content
        now.generation += 1  # also of one that failed, whose first copy may be there
        wanted = _Content(generation=now.generation, numbers=now.numbers, topics=topics, groups=groups)
        encoded = msgspec.json.format(msgspec.json.encode(wanted), indent=1)
        msgspec.json.decode(encoded, type=_Content)  # what cannot be read again must not take the place of what can
        whole = b"%08x\n%s\n" % (crc32c.crc32c(encoded), encoded)
        for name in _COPIES:
            fresh = self._write(name, whole)
            if drops:
                self._content = wanted
            self._disk.rename(fresh, name)
            self._disk.sync_names()
        self._content = wanted

    def _write(self, name: str, whole: bytes) -> str:
        """Returns the name of what is to take the place of a copy."""
        fresh = f"{name}-new"
        if fresh in self._disk.names():
            self._disk.remove(fresh)
        file = self._disk.create(fresh, 0)
        try:
            file.pwrite([whole], 0, sync=False)
            file.sync()
        finally:
            file.close()
        return fresh

    def _load(self) -> _Content:
        names = [name for name in _COPIES if name in self._disk.names()]
        read = {name: self._read(name) for name in names}
        found = [content for content in read.values() if content]
        self.damaged = [name for name, content in read.items() if not content]
        if not names and any(number_of(name) is not None for name in self._disk.names()):
            raise Damaged(
                "there are segments, but catalog-a and catalog-b, which say whose messages they hold, are missing: "
                "put one of them back from a copy"
            )
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
        try:
            version = msgspec.json.decode(encoded, type=_Version).format
            if version > FORMAT:
                raise Damaged(
                    f"{name} has format version {version}, this evermq reads up to {FORMAT}: use a newer evermq"
                )
            content = msgspec.json.decode(encoded, type=_Content)
        except (msgspec.MsgspecError, UnicodeError):
            return None  # the checksum is right, but of something else
        return content if _is_whole(content) else None


def _is_whole(content: _Content) -> bool:
    """Whether its groups are of its topics."""
    lanes = {topic.number: topic.lanes for topic in content.topics}
    return all(count >= 1 for count in lanes.values()) and all(
        len(group.starts) == lanes.get(group.topic) for group in content.groups
    )
