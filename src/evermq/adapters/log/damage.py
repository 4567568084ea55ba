"""What of a log is not intact, exactly: found by following the sequence numbers of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from evermq.adapters.log.frame import Frame, next_magic, parse
from evermq.adapters.log.segment import HEADER_BYTES, Segment

__all__ = ["Damage", "Trail", "frames_of", "rescan"]


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a segment that is not intact.

    synced: whether it had been flushed, so that acknowledged messages are gone. first_sequence, last_sequence:
    the groups that lay there; last_sequence 0: nobody can tell how many, or whether there were any; first_sequence 0:
    nor from which on. missing: how many segments from this one on are not there at all.
    """

    segment: int
    position: int
    length: int
    first_sequence: int
    last_sequence: int
    synced: bool
    missing: int = 0

    def covers(self, segment: int, position: int) -> bool:
        """Whether this byte of this segment is in it."""
        return segment == self.segment and self.position <= position < self.position + self.length

    def __str__(self) -> str:
        groups = f"groups {self.first_sequence} to {self.last_sequence}"
        if not self.last_sequence:
            groups = f"groups from {self.first_sequence} on, if there were any"
        if not self.first_sequence:
            groups = f"groups up to {self.last_sequence}"
        if self.missing:
            last = self.segment + self.missing - 1
            which = f"segment {self.segment} is" if self.missing == 1 else f"segments {self.segment} to {last} are"
            which += f" missing, {groups}" if self.first_sequence or self.last_sequence else " missing"
            return f"{which}: removed by somebody else, or lost by the disk"
        cause = "was acknowledged as synced (bit rot)" if self.synced else "had not been synced"
        return f"segment {self.segment}: {self.length} bytes at {self.position}, {groups}: not intact, {cause}"


@dataclass(slots=True)
class Trail:
    """Follows the frames of a directory from segment to segment. `last`: sequence of the last intact one, 0 where
    nothing is known. `damages`: what is missing in between."""

    last: int = 0
    damages: list[Damage] = field(default_factory=list)
    _number: int = 0
    _end: int = HEADER_BYTES
    _size: int = HEADER_BYTES
    _size_made: int = 0
    _is_lost: bool = False
    _is_unread: bool = False

    def frames(self, segment: Segment, buffer: bytes) -> Iterator[Frame]:
        """The intact frames of a segment whose bytes these are."""
        found = 0
        for item in frames_of(buffer, segment.number):
            if not found:
                self._pass(segment.number, item.sequence if isinstance(item, Frame) else 0)
            found += 1
            if isinstance(item, Frame):
                if self._number != segment.number:
                    self._enter(segment, item.sequence, item.synced)
                self.last, self._end = item.sequence, item.position + item.length
                yield item
            else:
                begin, stop, following = item
                self._number = segment.number
                self._note(begin, stop, following.sequence - 1, following.synced)
        if not found:
            self._pass(segment.number, 0)
            self._end, self._is_lost = HEADER_BYTES, True
        self._number, self._size, self._size_made = segment.number, len(buffer), segment.size_made

    def skip(self, segment: Segment) -> None:
        """A segment whose footer says what is in it."""
        self._pass(segment.number, segment.first_sequence)
        self._enter(segment, segment.first_sequence, segment.first_sequence)
        self.last, self._number, self._end = segment.last_sequence, segment.number, segment.used
        self._size = self._size_made = segment.size

    def lost(self, number: int, size: int) -> None:
        """A file of which nothing is intact."""
        self._pass(number, 0)
        self._number, self._end, self._size, self._size_made, self._is_lost = number, 0, size, size, True

    def unread(self, number: int) -> None:
        """A file that is there and could not be read: what was in it, nobody can tell."""
        self._pass(number, 0)
        self.last, self._number, self._end, self._size, self._size_made, self._is_lost = 0, number, 0, 0, 0, False
        self._is_unread = True

    def end_at(self, used: int, last: int, synced: int) -> None:
        """The segment just followed is known to have ended so."""
        if last > self.last:
            self._note(self._end, max(used, self._end), last, synced)

    def finish(self) -> list[Damage]:
        """All of it, the end of the last segment included, which no later frame tells of."""
        missing = self._size_made - self._size
        if missing > 0:
            self.damages.append(Damage(self._number, self._size, missing, self.last + 1, 0, True))
        return self.damages

    def _enter(self, segment: Segment, sequence: int, synced: int) -> None:
        """What lay between the last frame and this one, the first of its segment, was in the segment before it."""
        follows = segment.number == self._number + 1
        if sequence > self.last + 1 and follows and (self.last or self._is_lost):
            self._note(self._end, self._size_made or self._size, sequence - 1, synced)
        self._number, self._end, self._is_lost = segment.number, HEADER_BYTES, False

    def _pass(self, number: int, sequence: int) -> None:
        """On to this segment, whose first group is `sequence`, 0 where that is not known. Behind one that is there
        none may be missing, since the oldest go first."""
        missing = number - self._number - 1
        if missing > 0 and (self.last or self._is_unread):
            first, last = self.last + 1 if self.last else 0, max(0, sequence - 1)
            self.damages.append(Damage(self._number + 1, 0, 0, first, last, True, missing))
            self.last = max(self.last, last)
        self._is_unread = False

    def _note(self, begin: int, stop: int, last: int, synced: int) -> None:
        self.damages.append(Damage(self._number, begin, stop - begin, self.last + 1, last, synced >= last))
        self.last = last


def rescan(segment: Segment, synced: int) -> list[Damage]:
    """What is not intact of a segment that was intact when it was written. synced: the last sequence flushed."""
    trail = Trail(segment.first_sequence - 1, _number=segment.number)
    for _ in trail.frames(segment, segment.file.pread(segment.used, 0)):
        pass
    trail.end_at(segment.used, segment.last_sequence, synced)
    return trail.damages


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
