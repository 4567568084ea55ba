"""What a directory holds after a crash: every intact frame, and an exact list of what is not intact.

Rules (after TigerBeetle, SQLite and the CRASHMONKEY findings on what file systems do at a power cut):
a frame that is not intact and has nothing intact behind it is a torn tail: nobody was told it is stored, and it
is written over. A frame that is not intact although a later frame says it was synced is bit rot, and one that a
later frame does not vouch for was lost because its policy did not sync: both are reported, the rest is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct

from evermq.adapters.log.damage import Damage, Trail
from evermq.adapters.log.disk import Disk
from evermq.adapters.log.frame import Frame, Kind
from evermq.adapters.log.index import Index, LaneId
from evermq.adapters.log.segment import Segment, number_of, open_segment, write_header

__all__ = ["ENDS", "QUARANTINE", "Recovered", "recover"]

ENDS = Struct("<IIQ")  # topic, lane, next offset
QUARANTINE = "damaged-"


@dataclass(slots=True)
class Recovered:
    """The state of a directory's segments. `closed`: the last owner closed in order. `origins`: where the lanes began
    in what is kept, 0 for one that is not named; None where that is not known."""

    index: Index = field(default_factory=Index)
    segments: list[Segment] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    sequence: int = 0
    closed: bool = False
    origins: dict[LaneId, int] | None = None


def recover(disk: Disk, now_ms: int) -> Recovered:
    """Rebuild the index from all segments; only those without a footer are scanned."""
    found = _segments(disk)
    last = max((number for number, segment in found if isinstance(segment, Segment)), default=0)
    state = Recovered(segments=[segment for _, segment in found if isinstance(segment, Segment)])
    if found and found[0][0] == 1:
        state.origins = {}
    trail = Trail()
    for number, segment in found:
        if isinstance(segment, int):
            trail.lost(number, segment)
        elif segment.last_sequence and not (number == last - 1 and _is_empty(state.segments[-1])):
            trail.skip(segment)
            state.index.load(segment)
            state.closed = False
        else:
            _scan(segment, state, trail)
        state.sequence = trail.last
    if state.segments and not state.segments[-1].last_sequence:  # a roll that was not completed
        write_header(state.segments[-1].file, last, now_ms)
    disk.sync_names()  # a killed owner may not have come to it
    state.damages = trail.finish()
    return state


def _segments(disk: Disk) -> list[tuple[int, Segment | int]]:
    """(number, segment) in order; in place of one of which nothing is intact, its size. Such a file is put aside,
    but for the last: a crash left that before anything was written to it."""
    found: list[tuple[int, Segment | int]] = []
    names = {number_of(name.removeprefix(QUARANTINE)): name for name in disk.names()}
    numbers = sorted(number for number in names if number is not None)
    for number in numbers:
        name = names[number]
        segment = None if name.startswith(QUARANTINE) else open_segment(disk, name)
        if segment:
            found.append((number, segment))
        elif number == numbers[-1]:
            disk.rename(name, f"spare-{name.removeprefix(QUARANTINE)}")
        else:
            found.append((number, disk.open(name).size()))
            if not name.startswith(QUARANTINE):
                disk.rename(name, QUARANTINE + name)
    return found


def _is_empty(segment: Segment) -> bool:
    """Whether the roll to this segment was not completed, so that the one before it may not be flushed."""
    return next(Trail().frames(segment, segment.file.pread(segment.size, 0, uncached=True)), None) is None


def _scan(segment: Segment, state: Recovered, trail: Trail) -> None:
    """Take the frames that the device holds: after a failed flush the cache may show others. What a killed owner
    left in the cache is flushed first, so that everything that was found is durable."""
    segment.file.sync()
    segment.forget()
    whole, frame = segment.file.pread(segment.size, 0, uncached=True), None
    for frame in trail.frames(segment, whole):
        _note(frame, segment, state)
    if frame:
        # One that a kill tore where only zeros were to come is whole on the device, but not in the cache, behind a
        # flush that failed.
        held = whole[frame.position : frame.position + frame.length]
        if segment.file.pread(frame.length, frame.position) != held:
            segment.file.pwrite([held], frame.position, sync=True)


def _note(frame: Frame, segment: Segment, state: Recovered) -> None:
    segment.note(frame.position, frame.length, frame.sequence, frame.time_ms)
    state.index.note(frame.entries, frame.position, segment)
    state.closed = False
    for entry in frame.entries:
        if entry.kind == Kind.ENDS:
            if segment is state.segments[0] and state.origins is None:
                state.origins = {(topic, lane): end for topic, lane, end in ENDS.iter_unpack(entry.payload)}
            for topic, lane, end in ENDS.iter_unpack(entry.payload):
                state.index.reach(topic, lane, end)
        elif entry.kind == Kind.CLOSED:
            state.closed = True
