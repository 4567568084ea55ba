"""What a group has done in a lane beyond its committed offset, packed into the metadata of the commit.

Kafka commits one offset a lane, and lets a text stand beside it (offset.metadata.max.bytes, 4,096 bytes by default).
Packed are ranges of offsets that are done, and ranges of those that come again, with the number of their next attempt
and the time before which they may not come. What does not fit is left out, which is safe: the shortest of the first
are handed out once more, the last of the second come at once, as attempt 1.

The text is `e1:` and base64 of numbers in LEB128: the topic's fingerprint, then (gap, length) of each done range, 0, 0,
then (gap, length, attempt, due time in milliseconds or 0) of each range that comes again. Gaps count from the end of
the range before, the first from the committed offset. A text of another kind is ignored: foreign tools may write one.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from heapq import nlargest
from typing import NamedTuple
from zlib import crc32

__all__ = ["METADATA_BYTES_MAX", "Again", "Progress", "is_of_another_topic", "pack", "unpack", "untold_count"]

METADATA_BYTES_MAX = 4_095
_PREFIX = "e1:"
_FINGERPRINT_BYTES_MAX = 5


class Again(NamedTuple):
    """Offsets from `start` up to, without, `stop` come again."""

    start: int
    stop: int
    attempt: int
    due_ms: int


class Progress(NamedTuple):
    """done: (start, stop) ranges beyond the committed offset; again: see `Again`."""

    done: list[tuple[int, int]]
    again: list[Again]


def pack(topic_id: str, low: int, done: Iterable[tuple[int, int]], again: Iterable[Again], *, bytes_max: int) -> str:
    """The metadata for a commit of `low`, at most `bytes_max` long.

    Ranges must be sorted. What is done has three quarters of the room, if it needs it.
    """
    done, again = list(done), list(again)
    packed = bytearray(_number(crc32(topic_id.encode())))
    at = low
    for start, stop in _told(low, done, _room(bytes_max, is_shared=bool(again))):
        packed += _number(start - at) + _number(stop - start)
        at = stop
    packed += b"\0\0" if again else b""
    room = _FINGERPRINT_BYTES_MAX + _room(bytes_max)
    for at, each in zip([low, *(each.stop for each in again)], again, strict=False):
        entry = (
            _number(each.start - at) + _number(each.stop - each.start) + _number(each.attempt) + _number(each.due_ms)
        )
        if len(packed) + len(entry) > room:
            break
        packed += entry
    return _PREFIX + b64encode(packed).decode()


def untold_count(low: int, done: list[tuple[int, int]], *, bytes_max: int) -> int:
    """How much of what is done `pack` may find no room for."""
    return sum(map(_length, done)) - sum(map(_length, _told(low, done, _room(bytes_max, is_shared=True))))


def unpack(topic_id: str, low: int, metadata: str) -> Progress:
    """What `pack` packed; nothing where that was for an earlier topic of the same name, or is not ours."""
    progress = Progress([], [])
    if not metadata.startswith(_PREFIX):
        return progress
    try:
        numbers = _numbers(b64decode(metadata[len(_PREFIX) :], validate=True))
        if next(numbers) == crc32(topic_id.encode()):
            _read(low, numbers, progress)
    except (ValueError, StopIteration):
        return Progress([], [])
    return progress


def is_of_another_topic(topic_id: str, metadata: str) -> bool:
    """Whether the commit was made for an earlier topic of the same name, so that its offset says nothing."""
    try:
        found = b64decode(metadata[len(_PREFIX) :], validate=True)
        return metadata.startswith(_PREFIX) and next(_numbers(found)) != crc32(topic_id.encode())
    except (ValueError, StopIteration):
        return False


def _room(bytes_max: int, *, is_shared: bool = False) -> int:
    """Bytes, before they become base64, beside the fingerprint."""
    room = (bytes_max - len(_PREFIX)) * 3 // 4 - 16 - _FINGERPRINT_BYTES_MAX
    return room * 3 // 4 if is_shared else room


def _told(low: int, done: list[tuple[int, int]], room: int) -> list[tuple[int, int]]:
    """The ranges that `room` bytes can tell: all, or the longest of them."""
    count = len(done)
    while done and _size(low, done) > room:
        count = max(0, min(count * 3 // 4, room // 2))
        done = sorted(nlargest(count, done, key=_length))
    return done


def _length(each: tuple[int, int]) -> int:
    return each[1] - each[0]


def _size(low: int, done: list[tuple[int, int]]) -> int:
    """Bytes that ranges need."""
    gaps = (start - stop for (start, _), stop in zip(done, [low, *(stop for _, stop in done)], strict=False))
    return sum((max(1, number.bit_length()) + 6) // 7 for number in (*gaps, *map(_length, done)))


def _read(low: int, numbers: Iterator[int], progress: Progress) -> None:
    at = low
    for gap in numbers:
        length = next(numbers)
        if not length:
            break
        progress.done.append((at + gap, at + gap + length))
        at += gap + length
    at = low
    for gap in numbers:
        start = at + gap
        at = start + next(numbers)
        progress.again.append(Again(start, at, next(numbers), next(numbers)))


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _numbers(packed: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
    if shift:
        raise ValueError("a number is cut off")
