"""What groups have done, as a file of small changes: written at once, flushed from time to time.

An acknowledgement survives a kill of the process at once, and a loss of power once it was flushed; what is lost
is handed out again. A flush that fails loses what it was to flush, as a loss of power would, until the file is
replaced. Every record stands for itself: one that is missing or damaged can only make messages come again, never skip
them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from struct import Struct

import crc32c
import msgspec

from evermq.adapters.log.disk import Disk, File

__all__ = ["Change", "CursorFile", "is_torn", "newest", "records"]

_HEAD = Struct("<4sII")  # magic, crc32c of the payload, its length
_MAGIC = b"EVQC"
_NAME = re.compile("cursors-[0-9a-f]{8}")
_COMPACT_BYTES = 8 << 20
_SECTOR = 512
_ZEROS = 16  # in a row, as no record has them


class Change(msgspec.Struct, array_like=True, omit_defaults=True):
    """A change of one lane of one group: what was handed out up to `next`, settled, and put back.

    settled: (first, stop) pairs. parked: (offset, attempt, due_ms) of what comes again.
    `low`: everything below is settled (only in a compacted file).
    """

    group: int
    lane: int
    next: int = -1
    settled: list[tuple[int, int]] = []
    parked: list[tuple[int, int, int]] = []
    low: int = -1


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


class CursorFile:
    """The newest `cursors-N` of a directory; older ones are removed once it is durable. `damaged_bytes`: how much of it
    was not intact when it was loaded."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        names = sorted(name for name in disk.names() if _NAME.fullmatch(name))
        self._number = int(names[-1].partition("-")[2], 16) if names else 0
        self._file: File | None = disk.open(names[-1]) if names else None
        self._older = names[:-1]
        self.name = names[-1] if names else ""
        self.damaged_bytes = 0
        self._end = 0
        self._begun = 0  # its size when it was begun
        self._dirty = False
        self.is_doubtful = False

    @property
    def is_due(self) -> bool:
        """Whether it is time to `replace` it: it is long, or may lack something."""
        return self._file is None or self.is_doubtful or self._end > _COMPACT_BYTES + 2 * self._begun

    def load(self) -> Iterator[Change]:
        """All changes in the order they were made, past what is not intact: those that the device holds, once what
        a killed owner left in the cache was flushed."""
        if self._file is None:
            return
        self._file.sync()
        self._end = self._file.size()  # of the cache, whose end a failed flush may have kept from the device
        buffer = self._file.pread(self._end, 0, uncached=True)
        for begin, stop, changes in records(buffer):
            if changes is None:
                self.damaged_bytes += stop - begin
            else:
                yield from changes

    def add(self, changes: list[Change]) -> None:
        """Append one record. OSError where the disk refuses."""
        if self._file is None:
            self.replace(changes)
            return
        record = _record(changes)
        self._file.pwrite([record], self._end, sync=False)
        self._end += len(record)
        self._dirty = True

    def take_dirty(self) -> File | None:
        """The file, if something was added since the last time: its `sync` is the caller's, outside any lock."""
        dirty, self._dirty = self._dirty, False
        return self._file if dirty else None

    def doubt(self) -> None:
        """It may lack a change, so it must be replaced: a write failed, or a flush, after which another one may
        succeed without having written anything."""
        self.is_doubtful = True

    def replace(self, changes: Iterable[Change]) -> None:
        """Begin a new file that holds just these changes, durably, and remove the old one."""
        name = f"cursors-{self._number + 1:08x}"
        fresh = f"{name}-new"
        if fresh in self._disk.names():
            self._disk.remove(fresh)
        file = self._disk.create(fresh, 0)
        record = _record(list(changes))
        file.pwrite([record], 0, sync=False)
        file.sync()
        self._disk.rename(fresh, name)
        self._disk.sync_names()
        if self._file:  # not closed here: somebody may be flushing it, and its last user closes it
            self._older.append(f"cursors-{self._number:08x}")
        self._file, self._number = file, self._number + 1
        self._end = self._begun = len(record)
        self._dirty = self.is_doubtful = False
        for old in self._older:
            with contextlib.suppress(FileNotFoundError):  # somebody else removed it
                self._disk.remove(old)
        self._older.clear()

    def flush(self) -> None:
        """Flush it. OSError where that failed: then it must be replaced."""
        if self._file:
            try:
                self._file.sync()
            except OSError:
                self.doubt()
                raise

    def close(self) -> None:
        """Close it as it is; again is harmless."""
        file, self._file = self._file, None
        if file:
            file.close()


def newest(names: Iterable[str]) -> str | None:
    """The one of these files that counts."""
    return max((name for name in names if _NAME.fullmatch(name)), default=None)


def records(buffer: bytes) -> Iterator[tuple[int, int, list[Change] | None]]:
    """(begin, end, changes) of each record of a file, in order; None for a stretch in which none is intact."""
    done = 0
    at = buffer.find(_MAGIC)
    while 0 <= at <= len(buffer) - _HEAD.size:
        stop = at + _HEAD.size + _HEAD.unpack_from(buffer, at)[2]
        changes = _changes(buffer[at:stop])
        if changes is None:
            at = buffer.find(_MAGIC, at + 1)
            continue
        if at > done:
            yield done, at, None
        yield at, stop, changes
        done = stop
        at = buffer.find(_MAGIC, stop)
    if done < len(buffer):
        yield done, len(buffer), None


def is_torn(stretch: bytes, begin: int) -> bool:
    """Whether crashes or losses of power may leave this, from there on, of records that were not flushed: sectors of
    zeros, or an end that is not there; of one record, or of several whose owners were killed one after the other."""
    return _is_cut(stretch, begin) or all(_is_cut(part, begin + at) for at, part in _apart(stretch))


def _apart(stretch: bytes) -> Iterator[tuple[int, bytes]]:
    """What begins as records do, and where; and what is before the first of them."""
    begin = 0
    while begin < len(stretch):
        following = stretch.find(_MAGIC, begin + 1)
        end = following if following > 0 else len(stretch)
        yield begin, stretch[begin:end]
        begin = end


def _is_cut(stretch: bytes, begin: int) -> bool:
    first = _SECTOR - begin % _SECTOR
    pieces = [stretch[:first], *(stretch[at : at + _SECTOR] for at in range(first, len(stretch), _SECTOR))]
    if bytes(_ZEROS) in stretch or stretch.endswith(b"\0\0") or not all(piece.strip(b"\0") for piece in pieces):
        return True
    if len(stretch) < _HEAD.size:
        return stretch[: len(_MAGIC)] == _MAGIC[: len(stretch)]
    magic, _, length = _HEAD.unpack_from(stretch)
    return bool(magic == _MAGIC and length > len(stretch) - _HEAD.size)


def _changes(record: bytes) -> list[Change] | None:
    _, crc, length = _HEAD.unpack_from(record)
    payload = record[_HEAD.size :]
    # A head torn behind its magic reads as an empty payload, whose checksum is 0 as well.
    if not length or len(payload) != length or crc32c.crc32c(payload) != crc:
        return None
    try:
        return _decode(payload)
    except msgspec.MsgspecError:
        return None  # the checksum is right, but of something else


def _record(changes: list[Change]) -> bytes:
    payload = _encode(changes)
    return _HEAD.pack(_MAGIC, crc32c.crc32c(payload), len(payload)) + payload
