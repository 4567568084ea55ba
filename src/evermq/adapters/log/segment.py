"""Segments: files of one size, written from front to back, that carry their number, and an index once sealed."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

import crc32c
import msgspec

from evermq.adapters.log.disk import Disk, File
from evermq.adapters.log.frame import HEAD, Frame, Kind, next_magic, parse
from evermq.errors import Damaged

__all__ = ["FORMAT", "HEADER_BYTES", "MARK_EVERY_BYTES", "Header", "LaneMarks", "STORED", "Segment"]
__all__ += ["name_of", "number_of", "holds_later", "open_segment", "read_footer", "read_header"]
__all__ += ["write_footer", "write_header"]

FORMAT = 1
HEADER_BYTES = 512  # a sector of its own, so that no frame can tear it
_MAGIC = b"EVERMQ\x00\x01"
_HEADER = Struct("<8sIIQQQ")  # magic, crc32c of the rest, format, number, created_ms, size of the file
_BEHIND_CRC = Struct("<IQQQ")
_TRAILER = Struct("<4sIQII")  # magic, crc32c of the footer, segment number, footer offset, footer length
_SEALED = b"EVQF"
TRAILER_BYTES = _TRAILER.size
STORED = {Kind.MESSAGES, Kind.RECORDS, Kind.DELAYED, Kind.DUE}  # kinds whose entries advance a lane
_DIGITS = set("0123456789abcdef")
MARK_EVERY_BYTES = 64 << 10
_MARK_BYTES = 14  # at most, in the footer's encoding
_LANE_BYTES = 32
_CHUNK_BYTES = 1 << 20


class Header(NamedTuple):
    """What the header of a segment says: its number, and the size of the file when it was made."""

    number: int
    size: int


class LaneMarks(msgspec.Struct, array_like=True):
    """Where one lane's messages lie in a segment: from `offsets[i]` on not before byte `positions[i]`."""

    topic: int
    lane: int
    end: int  # the offset that follows the lane's last message in this segment
    offsets: list[int]
    positions: list[int]


class _Footer(msgspec.Struct, array_like=True):
    used: int
    first_sequence: int
    last_sequence: int
    time_first_ms: int
    time_last_ms: int
    lanes: list[LaneMarks]


@dataclass(slots=True)
class Segment:
    """One segment in memory. `used`: bytes up to the end of its last frame. `size_made`: its size when it was new."""

    number: int
    file: File
    size: int
    used: int = HEADER_BYTES
    first_sequence: int = 0
    last_sequence: int = 0
    time_first_ms: int = 0
    time_last_ms: int = 0
    marks: dict[tuple[int, int], LaneMarks] = field(default_factory=dict)
    footer_bytes: int = 64
    size_made: int = 0

    @property
    def room(self) -> int:
        """Bytes that frames may still take, the footer's share left out."""
        return self.size - self.used - self.footer_bytes - TRAILER_BYTES

    def forget(self) -> None:
        """Know nothing of its frames, to be told anew."""
        self.used = HEADER_BYTES
        self.first_sequence = self.last_sequence = 0
        self.marks.clear()

    def note(self, position: int, length: int, sequence: int, time_ms: int) -> None:
        """Take the next intact frame into account."""
        self.used = position + length
        if not self.last_sequence:
            self.first_sequence = sequence
            self.time_first_ms = time_ms
        self.last_sequence = sequence
        self.time_last_ms = time_ms

    def mark(self, topic: int, lane: int, offset: int, end: int, position: int) -> bool:
        """Note an entry of a frame at `position`; returns whether it is worth a mark in the index."""
        marks = self.marks.get((topic, lane))
        if marks is None:
            marks = self.marks[topic, lane] = LaneMarks(topic, lane, 0, [], [])
            self.footer_bytes += _LANE_BYTES
        marks.end = end
        if marks.positions and position < marks.positions[-1] + MARK_EVERY_BYTES:
            return False
        marks.offsets.append(offset)
        marks.positions.append(position)
        self.footer_bytes += _MARK_BYTES
        return True


def name_of(number: int) -> str:
    """The file name of a segment."""
    return f"segment-{number:016x}"


def number_of(name: str) -> int | None:
    """The number of the segment that a file name stands for, None for other files."""
    kind, _, digits = name.partition("-")
    if kind != "segment" or len(digits) != 16 or set(digits) - _DIGITS:
        return None
    return int(digits, 16)


def open_segment(disk: Disk, name: str) -> Segment | None:
    """Open a segment file, None where nothing in it is intact; Damaged for a newer format."""
    number = number_of(name)
    file = disk.open(name)
    if number is not None:
        header = read_header(file, name)
        if header and header.number == number:
            return read_footer(number, file) or Segment(number, file, file.size(), size_made=header.size)
        if _has_frames(file, number):  # the header rotted
            return Segment(number, file, file.size())
    file.close()
    return None


def _has_frames(file: File, number: int) -> bool:
    buffer = file.pread(file.size(), 0)
    at = next_magic(buffer, 0)
    while at >= 0:
        if isinstance(parse(memoryview(buffer), at, at, number), Frame):
            return True
        at = next_magic(buffer, at + 1)
    return False


def holds_later(file: File, number: int) -> bool:
    """Whether a file holds what may be taken for a frame or footer of segment `number` or one behind it."""
    size = file.size()
    for begin in range(0, size, _CHUNK_BYTES):
        buffer = file.pread(_CHUNK_BYTES + HEAD.size - 1, begin)
        at = next_magic(buffer, 0)
        while 0 <= at <= len(buffer) - HEAD.size:
            if HEAD.unpack_from(buffer, at)[4] >= number:
                return True
            at = next_magic(buffer, at + 1)
    trailer = file.pread(TRAILER_BYTES, max(0, size - TRAILER_BYTES))
    if len(trailer) < TRAILER_BYTES:
        return False
    magic, _, sealed_number, _, _ = _TRAILER.unpack(trailer)
    return bool(magic == _SEALED and sealed_number >= number)


def write_header(file: File, number: int, created_ms: int) -> None:
    """Give a fresh or recycled file its number, durably."""
    behind = _BEHIND_CRC.pack(FORMAT, number, created_ms, file.size())
    header = _MAGIC + crc32c.crc32c(behind).to_bytes(4, "little") + behind
    file.pwrite([header.ljust(HEADER_BYTES, b"\0")], 0, sync=True)


def read_header(file: File, name: str) -> Header | None:
    """A segment's header, None where it is not intact; Damaged for a newer format."""
    raw = file.pread(_HEADER.size, 0)
    if len(raw) < _HEADER.size:
        return None
    magic, crc, version, number, _created, size = _HEADER.unpack(raw)
    if magic != _MAGIC or crc32c.crc32c(raw[12:]) != crc:
        return None
    if version > FORMAT:
        raise Damaged(f"{name} has format version {version}, this evermq reads up to {FORMAT}: use a newer evermq")
    return Header(number, size)


def write_footer(segment: Segment) -> None:
    """Seal a segment, whose frames are flushed: its index behind the last frame, and at the very end where to find
    it. Not yet synced."""
    footer = msgspec.msgpack.encode(
        _Footer(
            segment.used,
            segment.first_sequence,
            segment.last_sequence,
            segment.time_first_ms,
            segment.time_last_ms,
            list(segment.marks.values()),
        )
    )
    if segment.used + len(footer) + TRAILER_BYTES > segment.size:
        return  # without a footer the segment is scanned when it is opened
    trailer = _TRAILER.pack(_SEALED, crc32c.crc32c(footer), segment.number, segment.used, len(footer))
    segment.file.pwrite([footer], segment.used, sync=False)
    segment.file.pwrite([trailer], segment.size - TRAILER_BYTES, sync=False)


def read_footer(number: int, file: File) -> Segment | None:
    """A sealed segment by its footer, None where it has no intact footer of this number."""
    size = file.size()
    raw = file.pread(TRAILER_BYTES, size - TRAILER_BYTES) if size > HEADER_BYTES + TRAILER_BYTES else b""
    if len(raw) < TRAILER_BYTES:
        return None
    magic, crc, sealed_number, offset, length = _TRAILER.unpack(raw)
    if magic != _SEALED or sealed_number != number or offset + length > size:
        return None
    encoded = file.pread(length, offset)
    if crc32c.crc32c(encoded) != crc:
        return None
    try:
        f = msgspec.msgpack.decode(encoded, type=_Footer)
    except msgspec.MsgspecError:
        return None  # what lies there happens to have the checksum that is asked for, as nothing has that of zeros
    marks = {(lane.topic, lane.lane): lane for lane in f.lanes}
    times = (f.time_first_ms, f.time_last_ms)
    return Segment(number, file, size, f.used, f.first_sequence, f.last_sequence, *times, marks, size_made=size)
