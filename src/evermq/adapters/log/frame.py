"""Frames: one a group commit, with one CRC-32C over everything behind it.

Layout (little endian; docs/internals/log-format.md is the reference):

    magic 4 | crc32c u32 of all that follows | frame length u32 | entry count u32
    segment number u64 | sequence u64 | synced sequence u64 | time_ms u64
    entries: topic u32, lane u32, kind u16, flags u16, count u32, base offset u64, payload length u32
    payloads, in the order of the entries

An entry with the flag SHARES has no payload: its messages are the next rows of the payload of the entries behind it.
A batch over many lanes is so one payload, encoded and decoded in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

import crc32c

__all__ = [
    "ENTRY",
    "HEAD",
    "JOINED_BYTES_MAX",
    "MAGIC",
    "ONE_BYTES",
    "SHARES",
    "Entry",
    "Frame",
    "Kind",
    "Part",
    "Piece",
]
__all__ += ["build", "build_one", "length_of", "messages_of", "next_magic", "parse"]

MAGIC = b"EVQ\x01"
HEAD = Struct("<4sIIIQQQQ")
ENTRY = Struct("<IIHHIQI")
_BEHIND_CRC = Struct("<IIQQQQ")
_BEHIND_CRC_ONE = Struct("<IIQQQQIIHHIQI")  # the same, and the one entry that follows
SHARES = 1  # a flag of an entry
ONE_BYTES = HEAD.size + ENTRY.size
JOINED_BYTES_MAX = 64 << 10  # a smaller frame is one buffer: copying it costs less than handling its parts

Part = bytes | bytearray | memoryview


class Kind(IntEnum):
    """What the payload of an entry is."""

    MESSAGES = 1  # columns of messages
    RECORDS = 2  # a Kafka record batch (magic 2) as its client sent it, its base offset patched
    DELAYED = 3  # i64 due_ms [count], then columns of messages that wait in the delay lane
    DUE = 4  # u64 offsets of the delay lane that were moved to their lanes by this very frame
    ENDS = 5  # (topic u32, lane u32, next offset u64) for every lane: where offsets go on in this segment
    CLOSED = 6  # the owner closed in order: nothing valid follows unless it was appended by a later owner


_MESSAGES = int(Kind.MESSAGES)


class Entry(NamedTuple):
    """One part of a frame that belongs to one lane: `message_count` rows of its payload, from row `first` on.

    part: number of the payload in its frame. rows: how many it has, those of other lanes included.
    """

    topic: int
    lane: int
    kind: int
    flags: int
    message_count: int
    offset: int
    payload: memoryview
    part: int
    first: int
    rows: int


class Frame(NamedTuple):
    """A frame that was read and whose CRC is right. `position` and `length` are bytes in its segment."""

    position: int
    length: int
    segment: int
    sequence: int
    synced: int
    time_ms: int
    entries: list[Entry]


class Piece(NamedTuple):
    """An entry to be written; with SHARES it has no parts."""

    topic: int
    lane: int
    kind: int
    flags: int
    message_count: int
    offset: int
    parts: Sequence[Part]
    size: int


def build(pieces: Sequence[Piece], length: int, segment: int, sequence: int, synced: int, time_ms: int) -> list[Part]:
    """The buffers of one frame of `length` bytes, to be written one after the other."""
    head = [_BEHIND_CRC.pack(length, len(pieces), segment, sequence, synced, time_ms)]
    parts: list[Part] = []
    for topic, lane, kind, flags, count, offset, payload, size in pieces:
        head.append(ENTRY.pack(topic, lane, kind, flags, count, offset, size))
        parts += payload
    if length < JOINED_BYTES_MAX:
        behind = b"".join((*head, *parts))
        return [b"".join((MAGIC, crc32c.crc32c(behind).to_bytes(4, "little"), behind))]
    behind = b"".join(head)
    crc = crc32c.crc32c(behind)
    for part in parts:
        crc = crc32c.crc32c(part, crc, gil_release_mode=0)
    return [b"".join((MAGIC, crc.to_bytes(4, "little"), behind)), *parts]


def build_one(
    topic: int,
    lane: int,
    offset: int,
    encoded: bytes,
    length: int,
    segment: int,
    sequence: int,
    synced: int,
    time_ms: int,
) -> bytes:
    """The frame of one message: ONE_BYTES, and what is encoded. Where that is large, `build` copies less."""
    head = _BEHIND_CRC_ONE.pack(
        length, 1, segment, sequence, synced, time_ms, topic, lane, _MESSAGES, 0, 1, offset, len(encoded)
    )
    behind = head + encoded
    return b"".join((MAGIC, crc32c.crc32c(behind).to_bytes(4, "little"), behind))


def length_of(pieces: Sequence[Piece]) -> int:
    """The bytes of a frame of these entries."""
    return HEAD.size + ENTRY.size * len(pieces) + sum([piece.size for piece in pieces])


def parse(buffer: memoryview, at: int, position: int, segment: int) -> Frame | int | None:
    """Read the frame at `at` of `buffer`, which lies at `position` of segment number `segment`.

    Returns the frame; or how many bytes it needs, where the buffer ends before it does; or None where there
    is no intact frame of this segment (a recycled segment still holds frames of its earlier number).
    """
    if len(buffer) - at < HEAD.size:
        return HEAD.size
    magic, crc, length, count, number, sequence, synced, time_ms = HEAD.unpack_from(buffer, at)
    if magic != MAGIC or number != segment or length < HEAD.size + ENTRY.size * count:
        return None
    if len(buffer) - at < length:
        return int(length)
    if crc32c.crc32c(buffer[at + 8 : at + length]) != crc:
        return None
    entries = list(_entries(buffer, at, count))
    return Frame(position, length, number, sequence, synced, time_ms, entries)


def _entries(buffer: memoryview, at: int, count: int) -> Iterator[Entry]:
    payload_at = at + HEAD.size + ENTRY.size * count
    sharing: list[tuple[int, ...]] = []
    part = 0
    for i in range(count):
        fields = ENTRY.unpack_from(buffer, at + HEAD.size + ENTRY.size * i)
        sharing.append(fields)
        if fields[3] & SHARES:
            continue
        payload = buffer[payload_at : payload_at + fields[6]]
        payload_at += fields[6]
        first, rows = 0, sum([each[4] for each in sharing])
        for topic, lane, kind, flags, messages, offset, _ in sharing:
            yield Entry(topic, lane, kind, flags, messages, offset, payload, part, first, rows)
            first += messages
        sharing = []
        part += 1


def messages_of(entry: Entry) -> memoryview:
    """The columns of messages in an entry's payload."""
    return entry.payload[8 * entry.message_count :] if entry.kind == Kind.DELAYED else entry.payload


def next_magic(buffer: bytes, at: int) -> int:
    """Where the next frame may begin, -1 if nowhere."""
    return buffer.find(MAGIC, at)
