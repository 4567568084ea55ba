"""One topic of the embedded log: its groups, its waiting readers, its delayed messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import RLock
from typing import Protocol

from evermq.adapters.log.catalog import TopicRecord
from evermq.adapters.log.committer import Committer
from evermq.adapters.log.cursor_file import Change
from evermq.adapters.log.delays import Delays
from evermq.adapters.log.frame import Kind, Piece
from evermq.adapters.log.gaps import Gap, damaged
from evermq.adapters.log.group import Group, Member
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.load import DELAY_LANE, DUE_LANE, TopicLanes
from evermq.adapters.log.log_time import LogTime
from evermq.adapters.log.reading import Reading
from evermq.clock import Clock
from evermq.errors import Closed, Damaged, NoSuchTopic, Rejected
from evermq.port import Start

__all__ = ["Home", "Topic"]


class Home(Protocol):
    """What a topic needs of the place that it belongs to."""

    clock: Clock
    directory: str
    lock: RLock
    journal: Journal
    reading: Reading
    committer: Committer

    def check(self) -> None: ...
    def record(self, changes: list[Change]) -> None: ...
    def mend_cursors(self) -> None: ...
    def make_group(self, topic: Topic, name: str, starts: list[int]) -> None: ...


class Topic:
    """Shared by all queue objects of the topic. `lock` is the place's: it guards the state of all groups."""

    def __init__(self, place: Home, record: TopicRecord) -> None:
        self.place = place
        self.record_ = record
        self.number = record.number
        self.name = record.name
        self.lanes = TopicLanes(record.number, record.lanes)
        self.names = self.lanes.names
        self.lock = place.lock
        self.groups: dict[str, Group] = {}
        self.delays = Delays(self.lanes, place.reading, place.committer, place.journal.bytes_max // 8)
        self.waiting: dict[asyncio.AbstractEventLoop, dict[Member, None]] = self.lanes.waiting
        self.dropped = False

    @property
    def clock(self) -> Clock:
        return self.place.clock

    @property
    def time(self) -> LogTime:
        return self.place.journal.time

    def check(self) -> None:
        """Raise Closed where the topic is no longer served."""
        self.place.check()
        if self.dropped:
            raise Closed(f"topic {self.name} was dropped: create it again")

    def end(self, lane: int) -> int:
        return self.place.journal.end(self.number, lane)

    def ends(self) -> list[int]:
        """The next offset of each lane."""
        return self.place.journal.state.index.ends_of(self.number, self.record_.lanes)

    def start(self, lane: int) -> int:
        return self.place.journal.start(self.number, lane)

    def damaged(self, gaps: Sequence[Gap]) -> Damaged | None:
        """The error for what a group of this topic went past, None where no damage is behind it."""
        place = self.place
        return damaged(place.directory, self.name, self.number, gaps, place.reading, place.journal)

    def group(self, name: str, start: Start) -> Group:
        """The group, made durably at `start` if it is new."""
        with self.lock:
            self.check()
            found = self.groups.get(name)
            return found or self._make_group(name, start)

    def reset(self, name: str, start: Start) -> None:
        """The group is a new one, at `start`: what it had settled, or put back, counts no more. Raises NoSuchTopic
        where there is none, Rejected while it has readers."""
        with self.lock:
            self.check()
            found = self.groups.get(name)
            if found is None:
                raise NoSuchTopic(f"topic {self.name} has no group {name}: its first reader makes it")
            if found.readers:
                raise Rejected(f"group {name} has readers: close them, then reset it")
            self._make_group(name, start)

    def _make_group(self, name: str, start: Start) -> Group:
        self.place.make_group(self, name, [self._start_of(start, lane) for lane in range(self.record_.lanes)])
        return self.groups[name]

    def _start_of(self, start: Start, lane: int) -> int:
        first, end = self.start(lane), self.end(lane)
        match start.at:
            case "newest":
                return end
            case "offset":
                return min(max(start.value, first), end)
            case "time":
                return self._offset_at(lane, start.value)
            case _:
                return first

    def _offset_at(self, lane: int, time_ms: int) -> int:
        """The first offset that was appended at this time or later."""
        index = self.place.journal.state.index.lane(self.number, lane)
        for segment in list(self.place.journal.segments):
            marks = segment.marks.get((self.number, lane))
            if marks and segment.time_last_ms >= time_ms:
                at = self.place.reading.find(self.number, lane, marks.offsets[0])
                for frame in self.place.reading.frames(at) if at else ():
                    for entry in frame.entries:
                        mine = (entry.topic, entry.lane, entry.kind) == (self.number, lane, Kind.MESSAGES)
                        if mine and frame.time_ms >= time_ms:
                            return entry.offset
        return index.end

    def backlog(self, group: str, lane: str | None) -> int:
        """As Queue.backlog."""
        lanes = range(self.record_.lanes) if lane is None else [int(lane)]
        with self.lock:
            found = self.groups.get(group)
            delayed = self.delays.count if lane is None else 0
            if found is None:
                return delayed + sum(self.end(i) - self.start(i) for i in lanes)
            return delayed + sum(self.end(i) - found.cursors[i].next + found.cursors[i].unsettled for i in lanes)

    def oldest_ms(self, group: str) -> int | None:
        """When the oldest message that the group has not settled was appended."""
        with self.lock:
            found = self.groups.get(group)
            lows = (
                [cursor.low for cursor in found.cursors]
                if found
                else [self.start(i) for i in range(self.record_.lanes)]
            )
        times = []
        for lane, low in enumerate(lows):
            at = self.place.reading.find(self.number, lane, low)
            frames = self.place.reading.frames(at) if at else ()
            for frame in frames:
                if any(
                    e.topic == self.number and e.lane == lane and e.offset + e.message_count > low
                    for e in frame.entries
                ):
                    times.append(frame.time_ms)
                    break
        return min(times, default=None)

    def has_settled(self, lane: int, end: int) -> bool:
        """Whether nobody needs what stands in a lane below `end` any more; without a group somebody may yet."""
        if lane == DUE_LANE:
            return True
        if lane == DELAY_LANE:
            low = self.delays.low
            return low is None or low >= end
        return bool(self.groups) and all(group.cursors[lane].low >= end for group in self.groups.values())

    def unread(self, lane: int, first: int, end: int) -> int:
        """How many messages of a lane from `first` up to `end` are not settled by the group that is furthest behind."""
        if lane == DUE_LANE:
            return 0
        if lane == DELAY_LANE:
            return self.delays.waiting_below(end)
        cursors = [group.cursors[lane] for group in self.groups.values()]
        return max((cursor.unsettled_in(first, end) for cursor in cursors), default=end - first)

    def record(self, changes: list[Change]) -> None:
        """Write down what changed in groups of this topic."""
        if changes:
            self.place.record(changes)

    def note_delayed(self, piece: Piece) -> None:
        """Take delayed messages that were just stored, or moved to their lanes, into account."""
        numbers = memoryview(piece.parts[0])
        if piece.kind == Kind.DUE:
            self.delays.moved(numbers.cast("Q"))
            return
        for offset, due_ms in enumerate(numbers.cast("q"), piece.offset):
            self.delays.add(due_ms, offset)

    def wake_all(self) -> None:
        """Whoever waits looks again; from any thread."""
        with self.lock:
            for reader in [each for readers in self.waiting.values() for each in readers]:
                reader.wake()

    def listen(self, loop: asyncio.AbstractEventLoop, reader: Member) -> None:
        """Wake this reader when something is appended; who waited first wakes first."""
        with self.lock:
            self.waiting.setdefault(loop, {})[reader] = None

    def forget(self, loop: asyncio.AbstractEventLoop, reader: Member) -> None:
        """It no longer waits."""
        with self.lock:
            readers = self.waiting.get(loop)
            if readers:
                readers.pop(reader, None)
                if not readers:
                    del self.waiting[loop]
