"""What a directory holds after a crash: every intact frame, and an exact list of what is not intact.

Rules (after TigerBeetle, SQLite and the CRASHMONKEY findings on what file systems do at a power cut):
a frame that is not intact and has nothing intact behind it is a torn tail: nobody was told it is stored, and it
is written over. A frame that is not intact although a later frame says it was synced is bit rot, and one that a
later frame does not vouch for was lost because its policy did not sync: both are reported, the rest is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct

from evermq.adapters.log.disk import Disk
from evermq.adapters.log.frame import Frame, Kind, next_magic, parse
from evermq.adapters.log.index import Index
from evermq.adapters.log.segment import HEADER_BYTES, Segment, number_of, read_footer, read_header

__all__ = ["ENDS", "Damage", "Recovered", "frames_of", "open_segment", "recover"]

ENDS = Struct("<IIQ")  # topic, lane, next offset


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a segment that is not intact.

    synced: whether it had been flushed, so that acknowledged messages are gone. first_sequence, last_sequence:
    the groups that lay there.
    """

    segment: int
    position: int
    length: int
    first_sequence: int
    last_sequence: int
    synced: bool

    def __str__(self) -> str:
        cause = "was acknowledged as synced (bit rot)" if self.synced else "had not been synced"
        groups = f"groups {self.first_sequence} to {self.last_sequence}"
        return f"segment {self.segment}: {self.length} bytes at {self.position}, {groups}: not intact, {cause}"


@dataclass(slots=True)
class Recovered:
    """The state of a directory's segments. `closed`: the last owner closed in order."""

    index: Index = field(default_factory=Index)
    segments: list[Segment] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    sequence: int = 0
    closed: bool = False


def open_segment(disk: Disk, name: str) -> Segment | None:
    """Open a segment file; None where nothing was ever acknowledged in it, because it has not even a header."""
    number = number_of(name)
    file = disk.open(name)
    if number is not None:
        if read_header(file, name) == number:
            return read_footer(number, file) or Segment(number, file, file.size())
        if next(frames_of(file.pread(file.size(), 0), number), None):  # the header rotted, frames are there
            return Segment(number, file, file.size())
    file.close()
    return None


def recover(segments: list[Segment], *, uncached_tail: bool = True) -> Recovered:
    """Rebuild the index from segments in the order of their numbers; only the unsealed ones are scanned.

    `uncached_tail`: read the last segment from the device, because after a failed flush the cache may show
    frames that the device never got.
    """
    state = Recovered(segments=segments)
    for segment in segments:
        if segment.last_sequence:  # sealed: its footer says it all
            state.index.load(segment)
            state.sequence = max(state.sequence, segment.last_sequence)
            state.closed = False
        else:
            _scan(segment, state, uncached=uncached_tail and segment is segments[-1])
    return state


def _scan(segment: Segment, state: Recovered, *, uncached: bool) -> None:
    buffer = segment.file.pread(segment.size, 0, uncached=uncached)
    for item in frames_of(buffer, segment.number):
        if isinstance(item, Frame):
            _note(item, segment, state)
        else:
            at, stop, next_frame = item
            first, last = state.sequence + 1, next_frame.sequence - 1
            synced = next_frame.synced >= last
            state.damages.append(Damage(segment.number, at, stop - at, first, last, synced))


def _note(frame: Frame, segment: Segment, state: Recovered) -> None:
    segment.note(frame.position, frame.length, frame.sequence, frame.time_ms)
    state.sequence = max(state.sequence, frame.sequence)
    state.index.note(frame.entries, frame.position, segment)
    state.closed = False
    for entry in frame.entries:
        if entry.kind == Kind.ENDS:
            for topic, lane, end in ENDS.iter_unpack(entry.payload):
                state.index.reach(topic, lane, end)
        elif entry.kind == Kind.CLOSED:
            state.closed = True


def frames_of(buffer: bytes, number: int) -> Iterator[Frame | tuple[int, int, Frame]]:
    """Every intact frame of a segment's bytes; where some are not, (begin, end, the next intact frame) first."""
    view = memoryview(buffer)
    at, last = HEADER_BYTES, 0
    while (found := _intact_from(buffer, view, at, number, last)) is not None:
        if found.position > at:
            yield at, found.position, found
        yield found
        at, last = found.position + found.length, found.sequence


def _intact_from(buffer: bytes, view: memoryview, at: int, number: int, last: int) -> Frame | None:
    while 0 <= at < len(buffer):
        frame = parse(view, at, at, number)
        if isinstance(frame, Frame) and frame.sequence > last:
            return frame
        at = next_magic(buffer, at + 1)
    return None
