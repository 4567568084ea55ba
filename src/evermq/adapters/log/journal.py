"""The log of a directory on its disk: one group of entries a write, one write and one flush a group.

Not thread-safe by itself: `write`, `forget` and `close` belong to whoever has the turn (committer.py);
`lock` guards what readers look at meanwhile.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from evermq.adapters.log.ballast import is_full
from evermq.adapters.log.damage import Damage, rescan
from evermq.adapters.log.disk import Disk
from evermq.adapters.log.frame import JOINED_BYTES_MAX, ONE_BYTES, Kind, Part, Piece, build, build_one, length_of
from evermq.adapters.log.index import Location
from evermq.adapters.log.log_time import LogTime
from evermq.adapters.log.recovery import ENDS, Recovered, recover
from evermq.adapters.log.segment import Segment, name_of, write_footer
from evermq.adapters.log.spares import Spares
from evermq.clock import Clock
from evermq.errors import Overloaded, TooLarge, Unavailable, Uncertain

__all__ = ["Journal"]

_END = Location(1 << 64, 0)
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(slots=True)
class Journal:
    """Open with `Journal.open`. `synced`: the last sequence known to be on the device. `on_full`: called when
    the disk has no room for another segment, before the append is refused. `on_damage`: called for what a reader finds
    not intact. `is_live`: whether the topic of a number is there; a new segment lists no lanes of others. `forgotten`:
    the last segment that was taken away. `has_rolled`: a segment was begun, or the directory opened; for whoever looks
    after that to take back. `one_bytes_max`: the largest frame that `write_one` writes by itself."""

    disk: Disk
    clock: Clock
    spares: Spares
    state: Recovered
    time: LogTime
    sync_every_write: bool
    may_grow: Callable[[], bool] = lambda: True
    on_full: Callable[[], None] = lambda: None
    before_write: Callable[[], None] = lambda: None
    on_damage: Callable[[Damage], None] = lambda _: None
    is_live: Callable[[int], bool] = lambda _: True
    lock: Lock = field(default_factory=Lock)
    synced: int = 0
    forgotten: int = 0
    failure: str = ""
    has_rolled: bool = True
    one_bytes_max: int = 0

    @classmethod
    def open(cls, disk: Disk, clock: Clock, *, segment_bytes: int, spares_max: int, sync_every_write: bool) -> Journal:
        """Recover what the directory holds. Raises Damaged for a newer format."""
        state = recover(disk, clock.now_ms())
        time = LogTime(clock, max((s.time_last_ms for s in state.segments), default=0))
        journal = cls(disk, clock, Spares(disk, segment_bytes, spares_max), state, time, sync_every_write)
        journal.synced = state.sequence
        journal.one_bytes_max = min(JOINED_BYTES_MAX, journal.bytes_max)
        return journal

    @property
    def segments(self) -> list[Segment]:
        return self.state.segments

    @property
    def bytes_max(self) -> int:
        """The largest group that fits in a segment, its index and the list of lane ends left out."""
        return self.spares.segment_bytes * 3 // 4

    def end(self, topic: int, lane: int) -> int:
        return self.state.index.end(topic, lane)

    def start(self, topic: int, lane: int) -> int:
        """The first offset that is stored, or that was until it was damaged."""
        found, origins = self.state.index.lane(topic, lane), self.state.origins
        origin = found.start if origins is None or self.forgotten else origins.get((topic, lane), 0)
        if origin < found.start and self.damages_between(Location(0, 0), found.find(found.start) or _END):
            return origin
        return found.start

    def damages_between(self, begin: Location, end: Location) -> list[Damage]:
        """What was flushed between these places of what is still kept, and is not intact."""
        with self.lock:
            damages = [damage for damage in self.state.damages if damage.synced and damage.segment > self.forgotten]
            return [damage for damage in damages if begin <= (damage.segment, damage.position) < end]

    def check(self) -> None:
        """Raise Unavailable where a write error closed the log."""
        if self.failure:
            raise Unavailable(f"the log was closed: {self.failure}; open the directory again, it will be re-read")

    def write(self, pieces: Sequence[Piece]) -> None:
        """Append one group, whole, as durable as the policy says.

        Raises Overloaded (disk full, nothing written), TooLarge, Unavailable (no descriptor left for a segment, or the
        directory may not be written to just now, nothing written; or closed by an earlier error), Uncertain (the write
        or flush failed: the log is closed for good, since a flush that failed once may succeed the next time without
        having written anything).
        """
        if self.failure:
            self.check()
        length = length_of(pieces)
        segments = self.state.segments
        if length > self.bytes_max:
            raise TooLarge(f"a group of {length} bytes does not fit in a segment ({self.bytes_max} bytes at most)")
        segment = segments[-1] if segments else None
        if segment is None or segment.room < length + 64 * len(pieces):
            segment = self._roll(is_moving=any(piece.kind == Kind.DUE for piece in pieces))
        self._append(segment, pieces, length, sync=self.sync_every_write)

    def write_one(self, topic: int, lane: int, encoded: bytes) -> int:
        """As `write`, of one message that need not wait for its time; returns its offset. Most of what a message alone
        costs is here, with caches that a flush has left cold: hence the few steps."""
        state = self.state
        offset = state.index.ends.get((topic, lane), 0)
        length = ONE_BYTES + len(encoded)
        segment = state.segments[-1] if state.segments else None
        if self.failure or segment is None or segment.room < length + 64 or length > self.one_bytes_max:
            self.write([Piece(topic, lane, Kind.MESSAGES, 0, 1, offset, (encoded,), len(encoded))])
            return offset
        sequence, time_ms, position = state.sequence + 1, self.time.now_ms(), segment.used
        frame = build_one(topic, lane, offset, encoded, length, segment.number, sequence, self.synced, time_ms)
        self._put(segment, (frame,), position, sequence, sync=self.sync_every_write)
        with self.lock:
            state.sequence = sequence
            state.closed = False
            segment.note(position, length, sequence, time_ms)
            state.index.note_one(topic, lane, offset, position, segment)
        return offset

    def sync(self) -> None:
        """Flush what a policy other than `always` has left in the cache. From any thread, also while somebody writes:
        under load there is no moment at which nobody does."""
        self.check()
        with self.lock:
            segment = self.segments[-1] if self.segments else None
            sequence = self.state.sequence
        if segment and self.synced < sequence:
            try:
                segment.file.sync()
            except OSError as error:
                raise self._fail(error) from error
            with self.lock:
                self.synced = max(self.synced, sequence)

    def report_damage(self, segment: Segment, position: int) -> None:
        """A reader found this segment not intact there: note exactly what is missing. Any thread may."""
        with self.lock:
            if any(damage.covers(segment.number, position) for damage in self.state.damages):
                return
        found = rescan(segment, self.synced)
        with self.lock:
            damages = self.state.damages
            # Else it was recycled meanwhile.
            fresh = [each for each in found if each not in damages] if segment in self.segments else []
            damages += fresh
        for damage in fresh:
            self.on_damage(damage)

    def forget(self, segment: Segment) -> None:
        """Take the oldest segment away; its file is used again.

        Those before it are gone for good by then: a delayed message must not come back without what says that it was
        moved to its lane. Where its file cannot be taken away it stays, and so do those behind it: no gap is left.
        """
        self.disk.sync_names()
        spare = self.spares.put_aside(name_of(segment.number))
        with self.lock:
            self.forgotten = segment.number
            self.segments.remove(segment)
            self.state.index.forget(segment)
        if spare:
            with suppress(OSError):  # not before: two new names of a file under way, only the second may be durable
                self.disk.sync_names()
                self.spares.offer(spare)

    def close(self) -> None:
        """Mark the end, so that the next owner can tell a clean end from a crash; again is harmless."""
        if not self.failure and self.segments and not self.state.closed:
            try:
                self.sync()  # the mark alone would say nothing of what another policy left in the cache
                mark = [Piece(0, 0, Kind.CLOSED, 0, 0, 0, (), 0)]
                self._append(self.segments[-1], mark, length_of(mark), sync=True)
                self.state.closed = True
            except (Uncertain, Unavailable):
                pass  # everything acknowledged is durable already; only the mark is missing
        for segment in self.segments:
            segment.file.close()
        self.failure = self.failure or "close()"

    def _append(self, segment: Segment, pieces: Sequence[Piece], length: int, *, sync: bool) -> None:
        state = self.state
        sequence = state.sequence + 1
        time_ms = self.time.now_ms()
        position = segment.used
        parts = build(pieces, length, segment.number, sequence, self.synced, time_ms)
        self._put(segment, parts, position, sequence, sync=sync)
        with self.lock:
            state.sequence = sequence
            state.closed = False
            segment.note(position, length, sequence, time_ms)
            state.index.note(pieces, position, segment)

    def _put(self, segment: Segment, parts: Sequence[Part], position: int, sequence: int, *, sync: bool) -> None:
        self.before_write()
        try:
            segment.file.pwrite(parts, position, sync=sync)
        except OSError as error:
            raise self._fail(error) from error
        if sync:
            self.synced = sequence

    def _fail(self, error: OSError) -> Uncertain:
        reason = error.strerror or error
        self.failure = f"a write error ({reason}), after which log:// opens it by itself once the disk takes writes"
        return Uncertain(f"the write failed: {error}; the log is closed, open it again to learn what is stored")

    def _roll(self, *, is_moving: bool) -> Segment:
        """Seal the last segment, flush it, begin the next one, flush that and its name: only then acknowledge.

        is_moving: for delayed messages that are due. They may go beyond bytes_max, since what they leave is room.
        """
        if not is_moving and not self.may_grow():
            raise Overloaded("the log is at bytes_max and its messages are not settled: read them, or raise bytes_max")
        number = self.segments[-1].number + 1 if self.segments else 1
        try:
            file = self.spares.get(name_of(number), number, self.clock.now_ms())
        except OSError as error:
            if is_full(error):
                self.on_full()
                raise Overloaded(f"no room for another segment: {error.strerror}; free space on the disk") from error
            if error.errno in _PASSING:
                # No frame was written. A file that has the name of the segment by now is replaced by the next attempt.
                raise Unavailable(f"no segment can be made: {error.strerror}; nothing was written") from error
            raise self._fail(error) from error
        try:
            if self.segments:
                self._seal(self.segments[-1])
        except OSError as error:
            raise self._fail(error) from error
        segment = Segment(number, file, self.spares.segment_bytes)
        with self.lock:
            self.segments.append(segment)
            self.state.index.keep(self.is_live)
        self.has_rolled = True
        ends = [self._ends()]
        self._append(segment, ends, length_of(ends), sync=True)
        return segment

    def _seal(self, segment: Segment) -> None:
        """Flush before the footer as well: a footer must not outlive the frames that it tells of."""
        if not self.sync_every_write:
            segment.file.sync()
        write_footer(segment)
        segment.file.sync()
        self.synced = self.state.sequence

    def _ends(self) -> Piece:
        lanes = self.state.index.lanes.items()
        payload = b"".join(ENDS.pack(topic, number, lane.end) for (topic, number), lane in lanes)
        return Piece(0, 0, Kind.ENDS, 0, len(payload) // ENDS.size, 0, (payload,), len(payload))
