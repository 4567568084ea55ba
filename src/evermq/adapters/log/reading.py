"""Reading the journal lane by lane, through a small cache of frames that lanes share."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from evermq.adapters.log.columns import decode
from evermq.adapters.log.frame import HEAD, Entry, Frame, Kind, messages_of, next_magic, parse
from evermq.adapters.log.index import Location
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.segment import HEADER_BYTES, Segment
from evermq.errors import Unsupported
from evermq.message import Message

__all__ = ["LaneScan", "Reading", "bytes_of"]

_CHUNK_BYTES = 256 << 10
_FRAMES_BYTES_MAX = 8 << 20
_DECODED_BYTES_MAX = 32 << 20
_MESSAGE_BYTES = 200  # of memory for each message, its body and key left out
_key, _body, _headers = itemgetter(1), itemgetter(2), itemgetter(3)
_STORED = (Kind.MESSAGES, Kind.DELAYED, Kind.RECORDS)


@dataclass(slots=True)
class _Decoded:
    """The messages of one payload. `size`: bytes, about. `left`: how many were not taken yet."""

    messages: list[Message]
    size: int
    left: int


_NOTHING = _Decoded([], 0, 0)


class Reading:
    """Frames by position, and batches that were decoded but not used up. Any thread may read."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._frames: dict[Location, Frame] = {}
        self._chunks: deque[tuple[int, list[Location]]] = deque()
        self._chunk_bytes = 0
        self._frame_bytes = 0
        self._decoded: OrderedDict[tuple[int, int, int], _Decoded] = OrderedDict()
        self._decoded_bytes = 0

    def check(self) -> None:
        """Raise Unavailable where the log is closed to appends."""
        self._journal.check()

    def find(self, topic: int, lane: int, offset: int) -> Location | None:
        with self._journal.lock:
            found = self._journal.state.index.lanes.get((topic, lane))
            return found.find(offset) if found else None

    def segment(self, number: int) -> Segment | None:
        """The segment of this number or, where that is gone, the next."""
        with self._journal.lock:
            segments = self._journal.segments
            at = number - segments[0].number if segments else -1
            if 0 <= at < len(segments) and segments[at].number == number:  # as where none is missing
                return segments[at]
            return next((each for each in segments if each.number >= number), None)

    def frames(self, at: Location) -> Iterator[Frame]:
        """Every intact frame from `at` on to what is the end when it is reached.

        Behind the first one nothing is kept: a pass through the log pushes nothing out that readers share, and takes
        the same memory again and again.
        """
        first = self.frame(at)
        found = [first] if first else []
        while found:
            yield from found
            last = found[-1]  # another segment's, where nothing more was intact in that one
            found = self._following(Location(last.segment, last.position + last.length))

    def frame(self, at: Location) -> Frame | None:
        """The first intact frame from `at` on, None at the end."""
        place = self._place(at)
        return self._frame(*place) if place else None

    def _place(self, at: Location) -> tuple[Segment, int] | None:
        number, position = at
        while segment := self.segment(number):
            if segment.number != number:  # that one is gone: the next begins at its beginning
                position = HEADER_BYTES
            if position < segment.used:
                return segment, position
            number, position = segment.number + 1, HEADER_BYTES
        return None

    def _following(self, at: Location) -> list[Frame]:
        """The next frames, as many as are read at once."""
        place = self._place(at)
        if place is None:
            return []
        segment, position = place
        kept = self._frames.get(Location(segment.number, position))
        return [kept] if kept else self._read(segment, position)[0]

    def messages(self, frame: Frame, entry: Entry) -> list[Message]:
        """All messages of the entry's payload, those of the lanes that share it included."""
        key = (frame.segment, frame.position, entry.part)
        found = self._decoded.get(key)
        if found is None:
            size = len(entry.payload) + _MESSAGE_BYTES * entry.rows
            found = self._decoded[key] = _Decoded(_decode(entry), size, entry.rows)
            self._decoded_bytes += size
            while self._decoded_bytes > _DECODED_BYTES_MAX and len(self._decoded) > 1:
                self._decoded_bytes -= self._decoded.popitem(last=False)[1].size
        return found.messages

    def used_up(self, frame: Frame, entry: Entry) -> None:
        """Its messages will hardly be asked for again, but those of other lanes that share its payload will."""
        key = (frame.segment, frame.position, entry.part)
        found = self._decoded.get(key)
        if found:
            found.left -= entry.message_count
            if found.left <= 0:
                self._decoded_bytes -= self._decoded.pop(key, _NOTHING).size

    def _frame(self, segment: Segment, position: int) -> Frame | None:
        key = Location(segment.number, position)
        return self._frames.get(key) or self._load(segment, position)

    def _load(self, segment: Segment, position: int) -> Frame | None:
        frames, size = self._read(segment, position)
        if size:
            self._keep(size, frames)
        return frames[0] if frames else None

    def _read(self, segment: Segment, position: int) -> tuple[list[Frame], int]:
        """The frames of a stretch, and its size; or the first frame past what is not intact, and 0."""
        # Behind a large frame a larger one is to be expected: its head says how much to read, just once.
        span = _CHUNK_BYTES if self._frame_bytes < _CHUNK_BYTES // 4 else HEAD.size
        buffer = segment.file.pread(min(span, segment.used - position), position)
        first = parse(memoryview(buffer), 0, position, segment.number)
        if isinstance(first, int):
            buffer = segment.file.pread(min(first, segment.used - position), position)
            first = parse(memoryview(buffer), 0, position, segment.number)
        if not isinstance(first, Frame):
            behind = self._resync(segment, position)
            return [behind] if behind else [], 0
        self._frame_bytes = first.length
        frames = [first]
        view = memoryview(buffer)
        at = first.length
        while at < len(view) and isinstance(frame := parse(view, at, position + at, segment.number), Frame):
            frames.append(frame)
            at += frame.length
        return frames, len(buffer)

    def _resync(self, segment: Segment, position: int) -> Frame | None:
        """The next intact frame of the segment behind a damaged one, which is reported."""
        self._journal.report_damage(segment, position)
        buffer = segment.file.pread(segment.used - position, position)
        at = next_magic(buffer, 1)
        while at > 0:
            frame = parse(memoryview(buffer), at, position + at, segment.number)
            if isinstance(frame, Frame):
                return frame
            at = next_magic(buffer, at + 1)
        following = self.segment(segment.number + 1)
        return self._frame(following, HEADER_BYTES) if following and following.number > segment.number else None

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
    return decode(messages_of(entry), entry.rows)


@dataclass(slots=True)
class LaneScan:
    """Reads one lane forward; remembers where it is, so that the next read begins there. size_bytes: of what the last
    fetch found, about."""

    reading: Reading
    topic: int
    lane: int
    size_bytes: int = 0
    _next: int = -1
    _at: Location | None = None

    def place(self, offset: int) -> Location | None:
        """Where the next fetch begins, None where nothing is stored from `offset` on."""
        return self._at if offset == self._next and self._at else self._find(offset)

    def _find(self, offset: int) -> Location | None:
        return self.reading.find(self.topic, self.lane, offset)

    def _ahead(self, offset: int, at: Location) -> Location | None:
        """From here on, or from where the index has `offset` if that is further: between them are other lanes' frames.
        None where nothing is stored from `offset` on."""
        found = self._find(offset)
        return max(at, found) if found else None

    def fetch(self, offset: int, count_max: int, window_bytes: int = 0) -> tuple[list[Message], list[range], int]:
        """Up to `count_max` messages from `offset` on, the ranges of their offsets, and the offset to fetch next.

        window_bytes: come back with what was found when so much of the log was gone through, 0 for no limit; of a
        larger frame so much is taken, but one message at least.
        """
        at = following = begin = self.place(offset)
        messages: list[Message] = []
        ranges: list[range] = []
        is_enough = False
        self.size_bytes = 0
        while begin and following:
            if window_bytes and messages and (following.segment, following.position - window_bytes) >= begin:
                break
            frame = self.reading.frame(following)
            if frame is None:
                break
            for entry in frame.entries:
                if entry.lane != self.lane or entry.topic != self.topic or entry.kind not in _STORED:
                    continue
                end = entry.offset + entry.message_count
                if end <= offset:
                    continue
                is_enough = len(messages) >= count_max
                if is_enough:
                    break
                offset = max(offset, entry.offset)
                stop = min(end, offset + count_max - len(messages))
                shift = entry.first - entry.offset
                part = self.reading.messages(frame, entry)[offset + shift : stop + shift]
                if 0 < window_bytes < frame.length:
                    del part[_fitting(part, window_bytes) :]
                    stop = offset + len(part)
                messages += part
                self.size_bytes += _size_of(part, entry)
                _extend(ranges, offset, stop)
                offset = stop
                if stop < end:
                    is_enough = True
                    break
                self.reading.used_up(frame, entry)
            if is_enough:
                following = Location(frame.segment, frame.position)
                break
            at = Location(frame.segment, frame.position + frame.length)
            following = self._ahead(offset, at)
            if len(messages) >= count_max:
                break
        self._next, self._at = offset, following or at
        return messages, ranges, offset


def bytes_of(message: Message) -> int:
    """What a message takes, roughly."""
    _, key, body, headers, _ = message
    size = len(body) + len(key or b"")
    return size + sum(len(name) + len(text) for name, text in headers.items()) if headers else size


def _size_of(part: Sequence[Message], entry: Entry) -> int:
    """What messages of an entry take; those of several lanes may differ much."""
    if entry.rows == entry.message_count:
        return len(entry.payload) * len(part) // entry.rows
    if any(map(_headers, part)):
        return sum(map(bytes_of, part))
    return sum(map(len, map(_body, part))) + sum(map(len, filter(None, map(_key, part))))


def _extend(ranges: list[range], start: int, stop: int) -> None:
    if ranges and ranges[-1].stop == start:
        start = ranges.pop().start
    ranges.append(range(start, stop))


def _fitting(messages: Sequence[Message], bytes_max: int) -> int:
    """How many of them, from the first on, take no more than this; one at least."""
    size = 0
    for count, message in enumerate(messages):
        size += bytes_of(message)
        if count and size > bytes_max:
            return count
    return len(messages)
