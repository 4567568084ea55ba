"""Where in which segment a lane's messages lie: sparse, in memory, rebuilt from footers and frames."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from evermq.adapters.log.frame import Entry, Piece
from evermq.adapters.log.segment import MARK_EVERY_BYTES, STORED, Segment

__all__ = ["Index", "Lane", "LaneId", "Location"]

LaneId = tuple[int, int]  # topic number, lane number


class Location(NamedTuple):
    """A byte position in a segment, where a frame begins."""

    segment: int
    position: int


class Lane:
    """One lane: where its offsets end, and marks (offset, location) about every 64 KiB."""

    __slots__ = ("end", "offsets", "positions", "segments")

    def __init__(self) -> None:
        self.end = 0
        self.offsets = array("Q")
        self.segments = array("Q")
        self.positions = array("I")

    @property
    def start(self) -> int:
        """The first offset that is still stored, `end` where nothing is."""
        return self.offsets[0] if self.offsets else self.end

    def add(self, offset: int, segment: int, position: int) -> None:
        self.positions.append(position)
        self.segments.append(segment)
        self.offsets.append(offset)

    def find(self, offset: int) -> Location | None:
        """Where to begin looking for `offset`, None where nothing is stored from there on."""
        if offset >= self.end or not self.offsets:
            return None
        i = max(0, bisect_right(self.offsets, offset) - 1)
        return Location(self.segments[i], self.positions[i])

    def forget(self, segment: int) -> None:
        """Drop the marks of all segments up to this one."""
        count = bisect_right(self.segments, segment)
        del self.offsets[:count], self.segments[:count], self.positions[:count]


class Index:
    """All lanes of a directory; `ends`: their next offsets, for the hot path.

    Written by whoever has the journal's turn, read under its lock.
    """

    def __init__(self) -> None:
        self.lanes: dict[LaneId, Lane] = {}
        self.ends: dict[LaneId, int] = {}

    def lane(self, topic: int, lane: int) -> Lane:
        """To look at; it is not kept for one of which nothing is known."""
        return self.lanes.get((topic, lane)) or Lane()

    def _kept(self, topic: int, lane: int) -> Lane:
        return self.lanes.setdefault((topic, lane), Lane())

    def end(self, topic: int, lane: int) -> int:
        return self.ends.get((topic, lane), 0)

    def ends_of(self, topic: int, lanes: int) -> list[int]:
        """The next offset of each lane of a topic."""
        get = self.ends.get
        return [get((topic, lane), 0) for lane in range(lanes)]

    def reach(self, topic: int, lane: int, end: int) -> None:
        """The lane's offsets go on at `end` at the earliest."""
        if end > self.end(topic, lane):
            self._kept(topic, lane).end = self.ends[topic, lane] = end

    def note(self, entries: Iterable[Entry] | Iterable[Piece], position: int, segment: Segment) -> None:
        """Take the entries of a frame at `position` of `segment` into account."""
        for entry in entries:
            topic, lane_number, kind = entry.topic, entry.lane, entry.kind
            if kind in STORED:
                lane = self.lanes.get((topic, lane_number)) or self._kept(topic, lane_number)
                end = entry.offset + entry.message_count
                if segment.mark(topic, lane_number, entry.offset, end, position):
                    lane.add(entry.offset, segment.number, position)
                lane.end = end
                self.ends[topic, lane_number] = end

    def note_one(self, topic: int, lane_number: int, offset: int, position: int, segment: Segment) -> None:
        """As `note`, of a frame with one message."""
        key, end = (topic, lane_number), offset + 1
        lane = self.lanes.get(key) or self._kept(topic, lane_number)
        marks = segment.marks.get(key)
        if marks and position < marks.positions[-1] + MARK_EVERY_BYTES:
            marks.end = end
        elif segment.mark(topic, lane_number, offset, end, position):
            lane.add(offset, segment.number, position)
        lane.end = self.ends[key] = end

    def load(self, segment: Segment) -> None:
        """Take a whole segment into account, by its marks."""
        for marks in segment.marks.values():
            lane = self._kept(marks.topic, marks.lane)
            lane.offsets.extend(marks.offsets)
            lane.positions.extend(marks.positions)
            lane.segments.extend([segment.number] * len(marks.offsets))
            lane.end = self.ends[marks.topic, marks.lane] = marks.end

    def forget(self, segment: Segment) -> None:
        """A segment was taken away; all before it are gone already."""
        for key in segment.marks:
            if key in self.lanes:
                self.lanes[key].forget(segment.number)

    def keep(self, is_live: Callable[[int], bool]) -> None:
        """Know nothing any more of topics that are no longer there; is_live: says of a topic's number whether it is."""
        for key in [key for key in self.lanes if not is_live(key[0])]:
            del self.lanes[key]
            self.ends.pop(key, None)
