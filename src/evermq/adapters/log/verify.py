"""Check a directory offline, reading everything and changing nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from evermq.adapters.log.catalog import Catalog
from evermq.adapters.log.columns import decode
from evermq.adapters.log.damage import Damage, Trail
from evermq.adapters.log.disk import Disk
from evermq.adapters.log.frame import Entry, Frame, Kind, messages_of
from evermq.adapters.log.index import LaneId
from evermq.adapters.log.load import DUE_LANE
from evermq.adapters.log.recovery import ENDS, QUARANTINE
from evermq.adapters.log.segment import FORMAT, STORED, number_of, open_segment, read_header
from evermq.adapters.log.system_disk import SystemDisk
from evermq.adapters.log.verify_cursors import check_cursors
from evermq.errors import Damaged, Misconfigured

__all__ = ["Report", "inspect", "verify"]

Told = Callable[[int, int], None]
_LANES_MAX = 4


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
    damages: list[Damage] = field(default_factory=list)
    begins: dict[LaneId, int] = field(default_factory=dict)  # of the lanes, in what is kept
    ends: dict[LaneId, int] = field(default_factory=dict)

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


def verify(directory: str | Path, told: Told | None = None) -> Report:
    """Read every frame of every segment, and what groups have done. Raises Misconfigured where there is no log.

    told: how many segments were read, and of how many, after each."""
    path = Path(directory)
    if not path.is_dir():
        raise Misconfigured(f"{path} is no directory: give the directory of a log")
    return inspect(SystemDisk(path), str(path), told)


def inspect(disk: Disk, directory: str, told: Told | None = None) -> Report:
    """As `verify`, whatever kind of disk it is."""
    names = disk.names()
    if not any(number_of(name) is not None or name.startswith("catalog-") for name in names):
        raise Misconfigured(f"{directory} holds no log: give the directory of a log:/// URL, without the topic")
    report = Report(directory)
    catalog = _catalog(disk, report)
    known = {topic.number: topic.name for topic in catalog.topics} if catalog else None
    trail = Trail()
    numbers = {number_of(name.removeprefix(QUARANTINE)): name for name in names}
    found = sorted(number for number in numbers if number is not None)
    for count, number in enumerate(found, 1):
        try:
            _segment(disk, numbers[number], number, known, trail, report)
        except Damaged as error:  # of a newer format, which says its name
            report.problems.append(str(error))
            trail.unread(number)
        except OSError as error:
            report.problems.append(f"{numbers[number]}: {error}")
            if numbers[number].startswith(QUARANTINE):  # those behind it may have gone in order
                trail.lost(number, 0)
            else:
                trail.unread(number)
        if told:
            told(count, len(found))
    report.damages = trail.finish()
    for damage in report.damages:
        (report.problems if damage.synced else report.notes).append(str(damage))
    if found and found[0] > 1:
        report.notes += _retained(known, report.begins)
    for finding in check_cursors(disk, catalog, report.ends):
        (report.problems if finding.is_problem else report.notes).append(finding.text)
    return report


def _retained(known: dict[int, str] | None, begins: dict[LaneId, int]) -> Iterator[str]:
    """What the oldest segments held, which are not there any more."""
    lanes: dict[int, list[str]] = {}
    for (topic, lane), begin in sorted(begins.items()):
        if begin and lane < DUE_LANE:
            lanes.setdefault(topic, []).append(f"{begin} of lane {lane}")
    for topic, offsets in lanes.items():
        more = f" and so on, {len(offsets)} lanes in all" if len(offsets) > _LANES_MAX else ""
        where = ", ".join(offsets[:_LANES_MAX]) + more
        yield (
            f"{_name(topic, known)}: messages below offset {where} are not there any more: retention took the oldest "
            "segments, unless somebody removed them"
        )


def _name(topic: int, known: dict[int, str] | None) -> str:
    return f"(topic {topic})" if known is None else known.get(topic, f"(dropped topic {topic})")


def _catalog(disk: Disk, report: Report) -> Catalog | None:
    try:
        catalog = Catalog(disk)
        for name in catalog.damaged:
            report.notes.append(f"{name} is not intact, as a crash may leave it; the other copy is, and stands for it")
        return catalog
    except (Damaged, OSError) as error:
        report.problems.append(str(error))
        return None


def _segment(disk: Disk, name: str, number: int, known: dict[int, str] | None, trail: Trail, report: Report) -> None:
    segment = None if name.startswith(QUARANTINE) else open_segment(disk, name)
    if segment is None:
        trail.lost(number, disk.open(name).size())
        report.notes.append(f"{name}: nothing in it is intact; a crash leaves the last segment so before its first use")
        return
    header = read_header(segment.file, name)
    if header is None:
        report.problems.append(f"{name}: its header is not intact, what it holds is")
    elif header.number != number:
        report.notes.append(f"{name}: was settled, and about to be used again, when the power went")
    for frame in trail.frames(segment, segment.file.pread(segment.file.size(), 0)):
        _frame(frame, known, report)
    if segment.last_sequence:  # of its footer
        trail.end_at(segment.used, segment.last_sequence, segment.last_sequence)
    report.segments += 1


def _frame(frame: Frame, known: dict[int, str] | None, report: Report) -> None:
    report.groups_of_messages += 1
    report.bytes += frame.length
    report.closed = any(entry.kind == Kind.CLOSED for entry in frame.entries)
    for entry in frame.entries:
        if entry.kind == Kind.ENDS:
            for topic, lane, end in ENDS.iter_unpack(entry.payload):
                _reach(report, (topic, lane), end, end)
        elif entry.kind in STORED:
            _reach(report, (entry.topic, entry.lane), entry.offset, entry.offset + entry.message_count)
        if entry.kind in (Kind.MESSAGES, Kind.DELAYED):
            _messages(frame, entry, known, report)


def _reach(report: Report, lane: LaneId, begin: int, end: int) -> None:
    report.begins.setdefault(lane, begin)
    report.ends[lane] = max(report.ends.get(lane, 0), end)


def _messages(frame: Frame, entry: Entry, known: dict[int, str] | None, report: Report) -> None:
    try:
        if not entry.first:  # a payload that several entries share is read once
            decode(messages_of(entry), entry.rows)
    except Damaged as error:
        report.problems.append(f"segment {frame.segment} at {frame.position}: {error}")
        return
    report.messages += entry.message_count
    name = _name(entry.topic, known)
    report.topics[name] = report.topics.get(name, 0) + entry.message_count
