"""Where in which segment a lane's messages lie: sparse, in memory, rebuilt from footers and frames."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import NamedTuple

from evermq.adapters.log.frame import Frame
from evermq.adapters.log.segment import STORED, Segment

__all__ = ["Index", "Lane", "Location"]

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
    """All lanes of a directory. Written by whoever holds the journal's turn; read under its lock."""

    def __init__(self) -> None:
        self.lanes: dict[LaneId, Lane] = {}

    def lane(self, topic: int, lane: int) -> Lane:
        found = self.lanes.get((topic, lane))
        if found is None:
            found = self.lanes[topic, lane] = Lane()
        return found

    def end(self, topic: int, lane: int) -> int:
        found = self.lanes.get((topic, lane))
        return found.end if found else 0

    def note(self, frame: Frame, segment: Segment) -> None:
        """Take a frame into account that `segment` has already noted."""
        for entry in frame.entries:
            if entry.kind in STORED:
                lane = self.lane(entry.topic, entry.lane)
                marks = segment.marks[entry.topic, entry.lane]
                if marks.positions[-1] == frame.position and marks.offsets[-1] == entry.offset:
                    lane.add(entry.offset, segment.number, frame.position)
                lane.end = entry.offset + entry.message_count

    def load(self, segment: Segment) -> None:
        """Take a whole segment into account, by its marks."""
        for marks in segment.marks.values():
            lane = self.lane(marks.topic, marks.lane)
            lane.offsets.extend(marks.offsets)
            lane.positions.extend(marks.positions)
            lane.segments.extend([segment.number] * len(marks.offsets))
            lane.end = marks.end

    def forget(self, segment: Segment) -> None:
        """A segment was taken away; all before it are gone already."""
        for key in segment.marks:
            if key in self.lanes:
                self.lanes[key].forget(segment.number)
