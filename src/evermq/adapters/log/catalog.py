"""Topics and groups of a directory: a small file, kept twice, of all of them and of changes behind that.

A change is durable in both copies before anything relies on it. One that cannot be put behind what is there is written
with all the rest, as a new file that replaces the old one; so is the first one of an owner, who does not know what the
last one left behind the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import crc32c
import msgspec

from evermq.adapters.log.disk import Disk, File
from evermq.adapters.log.segment import number_of
from evermq.errors import Damaged

__all__ = ["Catalog", "GroupRecord", "TopicRecord"]

_FORMAT = 2  # 1 is the content alone, without its length and without changes
_COPIES = ("catalog-a", "catalog-b")
_CHANGES_BYTES = 64 << 10  # and twice what there was when it was begun: then it is written anew
_DIGITS_MAX = 12


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


class _Change(msgspec.Struct, kw_only=True, omit_defaults=True):
    generation: int
    numbers: int
    topic: TopicRecord | None = None
    group: GroupRecord | None = None  # in the place of one of its name
    dropped: int = 0


class _Content(msgspec.Struct, kw_only=True):
    format: int = _FORMAT
    generation: int = 0
    numbers: int = 0
    topics: list[TopicRecord] = []
    groups: list[GroupRecord] = []


class _Version(msgspec.Struct):
    format: int


class _State:
    """Topics by number, and their groups by name."""

    def __init__(self, content: _Content) -> None:
        self.generation = content.generation
        self.numbers = content.numbers
        self.topics = {topic.number: topic for topic in content.topics}
        self.groups: dict[int, dict[str, GroupRecord]] = {}
        for group in content.groups:
            self.groups.setdefault(group.topic, {})[group.name] = group

    def apply(self, change: _Change) -> None:
        self.generation = max(self.generation, change.generation)
        self.numbers = max(self.numbers, change.numbers)
        if change.topic:
            self.topics[change.topic.number] = change.topic
        if change.group:
            self.groups.setdefault(change.group.topic, {})[change.group.name] = change.group
        if change.dropped:
            self.topics.pop(change.dropped, None)
            self.groups.pop(change.dropped, None)

    def content(self) -> _Content:
        groups = [group for each in self.groups.values() for group in each.values()]
        topics = list(self.topics.values())
        return _Content(generation=self.generation, numbers=self.numbers, topics=topics, groups=groups)

    @property
    def is_whole(self) -> bool:
        """Whether its groups are of its topics."""
        lanes = {number: topic.lanes for number, topic in self.topics.items()}
        return all(count >= 1 for count in lanes.values()) and all(
            len(group.starts) == lanes.get(number) for number, each in self.groups.items() for group in each.values()
        )


class Catalog:
    """Reads the newer intact copy when made. `damaged`: copies that are not intact.

    Raises Damaged if there is none, or if a newer evermq wrote it.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.damaged: list[str] = []
        self._state = self._load()
        self._seen: _Change | None = None  # the last one that a crash may find
        self.is_doubtful = False  # whether a crash may find something else than what holds
        self._end = self._begun = 0  # where the next change goes, 0: nowhere; how long it was when it was begun

    @property
    def topics(self) -> Sequence[TopicRecord]:
        return list(self._state.topics.values())

    @property
    def groups(self) -> Sequence[GroupRecord]:
        return self._state.content().groups

    def has_topic(self, number: int) -> bool:
        return number in self._state.topics

    def has_group(self, record: GroupRecord) -> bool:
        """Whether it is this very one that is there by its name."""
        return self._state.groups.get(record.topic, {}).get(record.name) is record

    def may_have_group(self, record: GroupRecord) -> bool:
        """Whether a crash may find it, though it could not be added."""
        return self._seen is not None and self._seen.group is record

    def number(self) -> int:
        """A number that no topic and no group has."""
        self._state.numbers += 1
        return self._state.numbers

    def reach(self, number: int) -> None:
        """Numbers up to this one were given, whatever the catalog remembers: what was written under one that a disk
        forgot must not be taken for another topic's or group's."""
        self._state.numbers = max(self._state.numbers, number)

    def add_topic(self, record: TopicRecord) -> None:
        """Durably. OSError where the disk refuses: then the topic does not exist."""
        self._save(self._change(topic=record))

    def add_group(self, record: GroupRecord) -> None:
        """Durably, in the place of one of its name. OSError where the disk refuses: then nothing changes, though a
        crash may find it; but where it may find another one replaced, whose place it takes for us too: what that one
        settled later would be lost."""
        self._save(self._change(group=record))

    def drop_topic(self, number: int) -> None:
        """Durably, with its groups. OSError where the disk refuses: then it exists on, unless a crash may already find
        it gone. What came to it then would be lost, so it is gone for us as well."""
        self._save(self._change(dropped=number))

    def mend(self) -> None:
        """Durably what holds, if that is doubtful. OSError where the disk refuses."""
        if self.is_doubtful:
            self._save(self._change())

    def _change(
        self, *, topic: TopicRecord | None = None, group: GroupRecord | None = None, dropped: int = 0
    ) -> _Change:
        self._state.generation += 1  # also for one that fails, whose first copy may be there
        generation, numbers = self._state.generation, self._state.numbers
        return _Change(generation=generation, numbers=numbers, topic=topic, group=group, dropped=dropped)

    def _save(self, change: _Change) -> None:
        """Make this change in both copies. Where that fails nobody is told of it, and it is not kept, but for one that
        takes something away, as soon as a crash may find it in one of them."""
        line = _line(change)
        if not (self._end and self._end + len(line) <= 3 * self._begun + _CHANGES_BYTES and self._added(line, change)):
            self._replace(change)
        self._state.apply(change)
        self.is_doubtful = False

    def _added(self, line: bytes, change: _Change) -> bool:
        """Whether it could be written behind what is there; if not, what is there now is to be replaced."""
        end, self._end = self._end, 0
        try:
            for name in _COPIES:
                self._write(self._disk.open(name), line, end, change)
        except OSError:
            return False
        self._end = end + len(line)
        return True

    def _replace(self, change: _Change) -> None:
        self._end = 0
        wanted = _State(self._state.content())
        wanted.apply(change)
        encoded = msgspec.json.format(msgspec.json.encode(wanted.content()), indent=1)
        msgspec.json.decode(encoded, type=_Content)  # what cannot be read again must not take the place of what can
        whole = b"%08x %d\n%s\n" % (crc32c.crc32c(encoded), len(encoded), encoded)
        for name in _COPIES:
            fresh = f"{name}-new"
            if fresh in self._disk.names():
                self._disk.remove(fresh)
            self._write(self._disk.create(fresh, 0), whole, 0)
            self._see(change)
            self._disk.rename(fresh, name)
            self._disk.sync_names()
        self._end = self._begun = len(whole)

    def _write(self, file: File, part: bytes, offset: int, change: _Change | None = None) -> None:
        """change: the one that this part tells of, where it is found from now on; not all of it if the write fails."""
        try:
            file.pwrite([part], offset, sync=False)
            if change:
                self._see(change)
            file.sync()
        finally:
            file.close()

    def _see(self, change: _Change) -> None:
        """A crash may find it from now on."""
        self._seen, self.is_doubtful = change, True
        group = change.group
        if change.dropped or (group and group.name in self._state.groups.get(group.topic, {})):
            self._state.apply(change)

    def _load(self) -> _State:
        names = [name for name in _COPIES if name in self._disk.names()]
        read = {name: self._read(name) for name in names}
        found = [state for state in read.values() if state]
        self.damaged = [name for name, state in read.items() if not state]
        if not names and any(number_of(name) is not None for name in self._disk.names()):
            raise Damaged(
                "there are segments, but catalog-a and catalog-b, which say whose messages they hold, are missing: "
                "put one of them back from a copy"
            )
        if not found and names:
            raise Damaged(
                "catalog-a and catalog-b are both damaged: put one of them back from a copy; the segments are untouched"
            )
        return max(found, key=lambda state: state.generation, default=_State(_Content()))

    def _read(self, name: str) -> _State | None:
        """None where not all of it is intact. Of a change that a crash tore the other copy knows nothing, or all."""
        file = self._disk.open(name)
        try:
            file.sync()  # what a killed owner left in the cache; after a flush that failed the cache may show more
            whole = file.pread(file.size(), 0, uncached=True)
        finally:
            file.close()
        parts = _apart(whole)
        if parts is None:
            return None
        encoded, lines = parts
        try:
            version = msgspec.json.decode(encoded, type=_Version).format
            if version > _FORMAT:
                raise Damaged(
                    f"{name} has format version {version}, this evermq reads up to {_FORMAT}: use a newer evermq"
                )
            state = _State(msgspec.json.decode(encoded, type=_Content))
            for change in _changes(lines):
                if change is None or change.generation <= state.generation:
                    return None
                state.apply(change)
        except (msgspec.MsgspecError, UnicodeError):
            return None  # the checksum is right, but of something else
        return state if state.is_whole else None


def _apart(whole: bytes) -> tuple[bytes, bytes] | None:
    """The content, and the changes behind it; None where the content is not intact."""
    head, _, rest = whole.partition(b"\n")
    crc, _, digits = head.partition(b" ")
    if not digits:  # of format 1
        encoded, lines = rest.rstrip(b"\n"), b""
    elif digits.isdigit() and len(digits) <= _DIGITS_MAX:
        length = int(digits)
        encoded, end, lines = rest[:length], rest[length : length + 1], rest[length + 1 :]
        if end != b"\n":
            return None
    else:
        return None
    return (encoded, lines) if crc == b"%08x" % crc32c.crc32c(encoded) else None


def _line(change: _Change) -> bytes:
    encoded = msgspec.json.encode(change)
    msgspec.json.decode(encoded, type=_Change)
    return b"%08x %s\n" % (crc32c.crc32c(encoded), encoded)


def _changes(lines: bytes) -> Iterator[_Change | None]:
    """Each in turn; None for what is not intact."""
    for line in lines.splitlines(keepends=True):
        crc, _, encoded = line.partition(b" ")
        is_intact = encoded.endswith(b"\n") and crc == b"%08x" % crc32c.crc32c(encoded[:-1])
        yield msgspec.json.decode(encoded, type=_Change) if is_intact else None
