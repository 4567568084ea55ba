"""Check a directory offline, reading everything and changing nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from evermq.adapters.log.catalog import Catalog
from evermq.adapters.log.columns import decode
from evermq.adapters.log.frame import Entry, Frame, Kind
from evermq.adapters.log.recovery import Damage, frames_of, open_segment
from evermq.adapters.log.segment import FORMAT, Segment, number_of, read_header
from evermq.adapters.log.system_disk import SystemDisk
from evermq.errors import Damaged, Misconfigured

__all__ = ["Report", "verify"]


@dataclass(slots=True)
class Report:
    """What was found. `ok`: nothing that had been acknowledged as synced is missing."""

    directory: str
    segments: int = 0
    groups_of_messages: int = 0
    messages: int = 0
    bytes: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    closed: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "directory": self.directory,
            "ok": self.ok,
            "format": FORMAT,
            "segments": self.segments,
            "frames": self.groups_of_messages,
            "messages": self.messages,
            "bytes": self.bytes,
            "topics": self.topics,
            "closed": self.closed,
            "problems": self.problems,
            "notes": self.notes,
        }

    def lines(self) -> Iterator[str]:
        """For a person."""
        held = f"{self.messages} messages in {self.groups_of_messages} groups"
        yield f"{self.directory}: {self.segments} segments, {held}"
        for name, count in sorted(self.topics.items()):
            yield f"  {name}: {count} messages"
        yield "  the last owner closed in order" if self.closed else "  the last owner did not close in order"
        yield from (f"  note: {note}" for note in self.notes)
        yield from (f"  PROBLEM: {problem}" for problem in self.problems)
        yield "  everything that is there is intact" if self.ok else "  what is not named above is intact"


def verify(directory: str | Path) -> Report:
    """Read every frame of every segment. Raises Misconfigured where there is no log."""
    path = Path(directory)
    if not path.is_dir():
        raise Misconfigured(f"{path} is no directory: give the directory of a log")
    disk = SystemDisk(path)
    names = disk.names()
    if not any(number_of(name) is not None or name.startswith("catalog-") for name in names):
        raise Misconfigured(f"{path} holds no log: give the directory of a log:/// URL, without the topic")
    report = Report(str(path))
    known = _catalog(disk, report)
    last = 0
    for name in sorted(name for name in names if number_of(name) is not None):
        try:
            last = _segment(disk, name, last, known, report)
        except (Damaged, OSError) as error:
            report.problems.append(f"{name}: {error}")
    return report


def _catalog(disk: SystemDisk, report: Report) -> dict[int, str]:
    try:
        return {topic.number: topic.name for topic in Catalog(disk).topics}
    except (Damaged, OSError) as error:
        report.problems.append(str(error))
        return {}


def _segment(disk: SystemDisk, name: str, last: int, known: dict[int, str], report: Report) -> int:
    """Read one segment; returns the sequence number of its last frame."""
    number = number_of(name) or 0
    file = disk.open(name)
    if read_header(file, name) != number:
        report.problems.append(f"{name}: its header is not intact")
    sealed = _sealed_end(disk, name)
    for item in frames_of(file.pread(file.size(), 0), number):
        if isinstance(item, Frame):
            if last and item.sequence > last + 1:
                _gap(name, last, item, report)
            last = item.sequence
            _frame(item, known, report)
        else:
            begin, end, following = item
            synced = following.synced >= following.sequence - 1
            damage = Damage(number, begin, end - begin, last + 1, following.sequence - 1, synced)
            (report.problems if synced else report.notes).append(str(damage))
    if sealed and last < sealed:
        report.problems.append(f"{name}: groups {last + 1} to {sealed} were sealed here and are not intact")
        last = sealed
    report.segments += 1
    return last


def _gap(name: str, last: int, frame: Frame, report: Report) -> None:
    if frame.synced >= frame.sequence - 1 and not any(name.removeprefix("segment-") in p for p in report.problems):
        report.notes.append(f"{name}: groups {last + 1} to {frame.sequence - 1} are not here")


def _sealed_end(disk: SystemDisk, name: str) -> int:
    segment: Segment | None = open_segment(disk, name)
    return segment.last_sequence if segment else 0


def _frame(frame: Frame, known: dict[int, str], report: Report) -> None:
    report.groups_of_messages += 1
    report.bytes += frame.length
    report.closed = any(entry.kind == Kind.CLOSED for entry in frame.entries)
    for entry in frame.entries:
        if entry.kind in (Kind.MESSAGES, Kind.DELAYED):
            _messages(frame, entry, known, report)


def _messages(frame: Frame, entry: Entry, known: dict[int, str], report: Report) -> None:
    payload = entry.payload[8 * entry.message_count :] if entry.kind == Kind.DELAYED else entry.payload
    try:
        decode(payload, entry.message_count)
    except Damaged as error:
        report.problems.append(f"segment {frame.segment} at {frame.position}: {error}")
        return
    report.messages += entry.message_count
    name = known.get(entry.topic, f"(dropped topic {entry.topic})")
    report.topics[name] = report.topics.get(name, 0) + entry.message_count
