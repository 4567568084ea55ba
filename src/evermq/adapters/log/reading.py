"""Reading the journal lane by lane, through a small cache of frames that lanes share."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from evermq.adapters.log.columns import decode
from evermq.adapters.log.frame import Entry, Frame, Kind, next_magic, parse
from evermq.adapters.log.index import Location
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.segment import Segment
from evermq.errors import Unsupported
from evermq.message import Message

__all__ = ["LaneScan", "Reading"]

_CHUNK_BYTES = 256 << 10
_FRAMES_BYTES_MAX = 16 << 20
_DECODED_COUNT_MAX = 64
_STORED = (Kind.MESSAGES, Kind.DELAYED, Kind.RECORDS)


class Reading:
    """Frames by position, and batches that were decoded but not used up. Any thread may read."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._frames: dict[Location, Frame] = {}
        self._chunks: deque[tuple[int, list[Location]]] = deque()
        self._chunk_bytes = 0
        self._decoded: OrderedDict[tuple[int, int, int], list[Message]] = OrderedDict()

    def find(self, topic: int, lane: int, offset: int) -> Location | None:
        with self._journal.lock:
            found = self._journal.state.index.lanes.get((topic, lane))
            return found.find(offset) if found else None

    def segment(self, number: int) -> Segment | None:
        """The segment of this number or, where that is gone, the next."""
        with self._journal.lock:
            return next((s for s in self._journal.segments if s.number >= number), None)

    def frames(self, at: Location) -> Iterator[Frame]:
        """Every intact frame from `at` on to what is the end when it is reached."""
        segment = self.segment(at.segment)
        position = at.position
        while segment:
            if position >= segment.used:
                segment = self.segment(segment.number + 1)
                position = 512
                continue
            frame = self._frame(segment, position)
            if frame is None:
                return
            yield frame
            if frame.segment != segment.number:  # nothing more was intact in that one
                segment = self.segment(frame.segment)
            position = frame.position + frame.length

    def messages(self, frame: Frame, index: int) -> list[Message]:
        """The decoded messages of a frame's entry."""
        key = (frame.segment, frame.position, index)
        found = self._decoded.get(key)
        if found is None:
            found = self._decoded[key] = _decode(frame.entries[index])
            if len(self._decoded) > _DECODED_COUNT_MAX:
                self._decoded.popitem(last=False)
        return found

    def used_up(self, frame: Frame, index: int) -> None:
        """Its messages will hardly be asked for again."""
        self._decoded.pop((frame.segment, frame.position, index), None)

    def _frame(self, segment: Segment, position: int) -> Frame | None:
        key = Location(segment.number, position)
        return self._frames.get(key) or self._load(segment, position)

    def _load(self, segment: Segment, position: int) -> Frame | None:
        """Read a stretch and keep all its frames; the first one is returned, past what is not intact."""
        span = min(_CHUNK_BYTES, segment.used - position)
        buffer = segment.file.pread(span, position)
        first = parse(memoryview(buffer), 0, position, segment.number)
        if isinstance(first, int):
            buffer = segment.file.pread(min(first, segment.used - position), position)
            first = parse(memoryview(buffer), 0, position, segment.number)
        if not isinstance(first, Frame):
            return self._resync(segment, position)
        frames = [first]
        view = memoryview(buffer)
        at = first.length
        while isinstance(frame := parse(view, at, position + at, segment.number), Frame):
            frames.append(frame)
            at += frame.length
        self._keep(len(buffer), frames)
        return first

    def _resync(self, segment: Segment, position: int) -> Frame | None:
        """The next intact frame of the segment behind a damaged one."""
        buffer = segment.file.pread(segment.used - position, position)
        at = next_magic(buffer, 1)
        while at > 0:
            frame = parse(memoryview(buffer), at, position + at, segment.number)
            if isinstance(frame, Frame):
                return frame
            at = next_magic(buffer, at + 1)
        following = self.segment(segment.number + 1)
        return self._frame(following, 512) if following and following.number > segment.number else None

    def _keep(self, size: int, frames: list[Frame]) -> None:
        keys = [Location(frame.segment, frame.position) for frame in frames]
        self._frames.update(zip(keys, frames, strict=True))
        self._chunks.append((size, keys))
        self._chunk_bytes += size
        while self._chunk_bytes > _FRAMES_BYTES_MAX and len(self._chunks) > 1:
            gone, old = self._chunks.popleft()
            self._chunk_bytes -= gone
            for key in old:
                self._frames.pop(key, None)


def _decode(entry: Entry) -> list[Message]:
    if entry.kind == Kind.RECORDS:
        raise Unsupported("a Kafka record batch is stored here: read it through the Kafka door")
    payload = entry.payload[8 * entry.message_count :] if entry.kind == Kind.DELAYED else entry.payload
    return decode(payload, entry.message_count)


@dataclass(slots=True)
class LaneScan:
    """Reads one lane forward; remembers where it is, so that the next read begins there."""

    reading: Reading
    topic: int
    lane: int
    _next: int = -1
    _at: Location | None = None
    _skip: list[int] = field(default_factory=list)

    def fetch(self, offset: int, count_max: int) -> tuple[list[Message], list[range], int]:
        """Up to `count_max` messages from `offset` on, the ranges of their offsets, and the offset to fetch next."""
        at = self._at if offset == self._next and self._at else self.reading.find(self.topic, self.lane, offset)
        messages: list[Message] = []
        ranges: list[range] = []
        if at is None:
            return messages, ranges, offset
        for frame in self.reading.frames(at):
            at = Location(frame.segment, frame.position)
            for i, entry in enumerate(frame.entries):
                end = entry.offset + entry.message_count
                if entry.lane != self.lane or entry.topic != self.topic or end <= offset or entry.kind not in _STORED:
                    continue
                if len(messages) >= count_max:
                    break
                offset = max(offset, entry.offset)
                stop = min(end, offset + count_max - len(messages))
                whole = self.reading.messages(frame, i)
                if stop == end:
                    self.reading.used_up(frame, i)
                messages += whole[offset - entry.offset : stop - entry.offset]
                ranges.append(range(offset, stop))
                offset = stop
            if len(messages) >= count_max:
                break
        self._next, self._at = offset, at
        return messages, ranges, offset
