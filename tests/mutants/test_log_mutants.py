"""Bugs planted in the embedded log, one for each rule that its worlds must be able to see broken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import crc32c
import pytest
from tests.mutants.planted import Mutant, caught, passes

from evermq.adapters.log import (
    batch,
    catalog,
    damage,
    delays,
    frame,
    journal,
    reader,
    recovery,
    restore,
    segment,
    spares,
)
from evermq.adapters.log.cursor_file import Change
from evermq.adapters.log.disk import Disk, File
from evermq.adapters.log.frame import Frame, Part
from evermq.adapters.log.index import Index
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.lane_cursor import LaneCursor
from evermq.adapters.log.log_time import LogTime
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.segment import Segment
from evermq.adapters.log.spares import Spares
from evermq.adapters.log.system_disk import _SystemFile
from evermq.errors import Uncertain

Patch = pytest.MonkeyPatch
_FIXED_BYTES = 40  # of a frame's head, behind its CRC


class Checksum:
    """Stands for the crc32c module in frame.py."""

    def __init__(self, of: Callable[..., Any]) -> None:
        self.crc32c = of


class Anything:
    """Equal to everything."""

    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Nameless:
    """A disk whose `sync_names` is forgotten."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def sync_names(self) -> None:
        pass


def no_checksum(patch: Patch) -> None:
    def of(data: Any, *start: int) -> Any:
        return Anything() if isinstance(data, memoryview) and not start else crc32c.crc32c(data, *start)

    patch.setattr(frame, "crc32c", Checksum(of))


def checksum_of_the_body_only(patch: Patch) -> None:
    def of(data: Any, *start: int) -> int:
        return crc32c.crc32c(data, *start) if start else crc32c.crc32c(data[_FIXED_BYTES:])

    patch.setattr(frame, "crc32c", Checksum(of))


def no_directory_sync_of_a_new_segment(patch: Patch) -> None:
    real = Spares.get

    def get(self: Spares, name: str, number: int, now_ms: int) -> Any:
        disk, self._disk = self._disk, Nameless(self._disk)
        try:
            return real(self, name, number, now_ms)
        finally:
            self._disk = disk

    patch.setattr(Spares, "get", get)


def no_directory_sync_after_a_crash(patch: Patch) -> None:
    real = recovery.recover
    patch.setattr(journal, "recover", lambda disk, now_ms: real(Nameless(disk), now_ms))


def roll_without_flushing_the_old_segment(patch: Patch) -> None:
    def seal(self: Journal, old: Segment) -> None:
        segment.write_footer(old)
        self.synced = self.state.sequence

    patch.setattr(Journal, "_seal", seal)


def footer_before_its_frames(patch: Patch) -> None:
    def seal(self: Journal, old: Segment) -> None:
        segment.write_footer(old)
        old.file.sync()
        self.synced = self.state.sequence

    patch.setattr(Journal, "_seal", seal)


def frames_of_any_earlier_life(patch: Patch) -> None:
    def parse(buffer: memoryview, at: int, position: int, number: int) -> Any:
        if len(buffer) - at < frame.HEAD.size:
            return frame.HEAD.size
        found = frame.parse(buffer, at, position, frame.HEAD.unpack_from(buffer, at)[4])
        return found._replace(segment=number) if isinstance(found, Frame) else found

    patch.setattr(damage, "parse", parse)


def footer_of_any_earlier_life(patch: Patch) -> None:
    real = segment.read_footer

    def read_footer(number: int, file: File) -> Segment | None:
        trailer = file.pread(segment.TRAILER_BYTES, max(0, file.size() - segment.TRAILER_BYTES))
        sealed = int.from_bytes(trailer[8:16], "little")
        found = real(sealed, file)
        return found and replace(found, number=number)

    patch.setattr(segment, "read_footer", read_footer)


def segments_go_in_any_order(patch: Patch) -> None:
    real = Journal.forget

    def forget(self: Journal, old: Segment) -> None:
        disk, self.disk = self.disk, Nameless(self.disk)
        try:
            real(self, old)
        finally:
            self.disk = disk

    patch.setattr(Journal, "forget", forget)


def written_down_though_it_is_closed(patch: Patch) -> None:
    real = LogPlace.record

    def record(self: LogPlace, changes: list[Change]) -> None:
        failure, self._failure = self._failure, ""
        try:
            real(self, changes)
        finally:
            self._failure = failure

    patch.setattr(LogPlace, "record", record)


def spares_used_unseen(patch: Patch) -> None:
    patch.setattr(spares, "holds_later", lambda *_: False)


def numbers_given_again(patch: Patch) -> None:
    patch.setattr(catalog.Catalog, "reach", lambda *_: None)


def time_goes_back(patch: Patch) -> None:
    patch.setattr(LogTime, "now_ms", lambda self: self._clock.now_ms())


def time_stands_still(patch: Patch) -> None:
    def now_ms(self: LogTime) -> int:
        self._last_ms = max(self._last_ms, self._clock.now_ms())
        return self._last_ms

    patch.setattr(LogTime, "now_ms", now_ms)


def time_begins_anew(patch: Patch) -> None:
    real = LogTime.__init__
    patch.setattr(LogTime, "__init__", lambda self, clock, _: real(self, clock, 0))


def clock_not_looked_at(patch: Patch) -> None:
    patch.setattr(reader, "_CLOCK_LOOK_MS", 1 << 40)


def due_by_the_time_of_the_log(patch: Patch) -> None:
    real = delays.Delays.move_due

    async def move_due(self: delays.Delays, now_ms: int) -> None:
        await real(self, self._committer._journal.time.now_ms())

    patch.setattr(delays.Delays, "move_due", move_due)


def without_flush(write: Callable[..., Any]) -> Callable[..., Any]:
    def write_only(self: Journal, *what: Any) -> Any:
        self.sync_every_write = False
        return write(self, *what)

    return write_only


def acknowledged_before_the_flush(patch: Patch) -> None:
    for name in ("write", "write_one"):
        patch.setattr(Journal, name, without_flush(getattr(Journal, name)))


def failed_flush_tried_again(patch: Patch) -> None:
    real = Journal._put

    def put(self: Journal, last: Segment, parts: Sequence[Part], position: int, sequence: int, *, sync: bool) -> None:
        try:
            real(self, last, parts, position, sequence, sync=sync)
        except Uncertain as error:
            try:
                last.file.sync()
            except OSError:
                raise error from None
            self.failure = ""
            self.synced = sequence

    patch.setattr(Journal, "_put", put)


def rot_taken_for_a_torn_tail(patch: Patch) -> None:
    real = damage.frames_of

    def frames_of(buffer: bytes, number: int) -> Iterator[Any]:
        for item in real(buffer, number):
            if not isinstance(item, Frame):
                return
            yield item

    patch.setattr(damage, "frames_of", frames_of)


def cursor_is_the_highest_settled(patch: Patch) -> None:
    real = LaneCursor.settle

    def settle(self: LaneCursor, offsets: Iterable[int]) -> Change | None:
        change = real(self, offsets)
        return change and Change(self.group, self.lane, settled=[(0, max(stop for _, stop in change.settled))])

    patch.setattr(LaneCursor, "settle", settle)


def retention_without_a_look_at_the_cursors(patch: Patch) -> None:
    patch.setattr(LogPlace, "is_settled", lambda *_: True)


def short_write_left_so(patch: Patch) -> None:
    def write_whole(self: Any, parts: Sequence[bytes], offset: int, flags: int) -> int:
        os.pwritev(self._fd, parts, offset, flags)
        return offset + sum(map(len, parts))

    patch.setattr(_SystemFile, "_write_whole", write_whole)


def delayed_message_moved_without_a_note(patch: Patch) -> None:
    def load(topic: Any, messages: Any, now_ms: int, buffers: Any, moved: object) -> Any:
        return batch.load(topic, messages, now_ms, buffers, moved=[])

    patch.setattr(delays, "load", load)


def offsets_given_again(patch: Patch) -> None:
    real = restore._restore_groups

    def restore_groups(place: restore.Remains) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Index, "reach", lambda *_: None)
            real(place)

    patch.setattr(restore, "_restore_groups", restore_groups)


def number_of_a_dropped_topic_given_again(patch: Patch) -> None:
    def number(self: catalog.Catalog) -> int:
        state = self._state
        groups = [group.number for each in state.groups.values() for group in each.values()]
        state.numbers = max([*state.topics, *groups], default=0) + 1
        return state.numbers

    patch.setattr(catalog.Catalog, "number", number)


def drop_not_flushed(patch: Patch) -> None:
    def write(self: catalog.Catalog, file: File, part: bytes, offset: int, change: Any = None) -> None:
        file.pwrite([part], offset, sync=False)
        if change:
            self._see(change)
        if not (change and change.dropped):
            file.sync()

    patch.setattr(catalog.Catalog, "_write", write)


def dropped_topic_stays_in_the_index(patch: Patch) -> None:
    patch.setattr(Index, "keep", lambda *_: None)


def recycled_though_a_crash_may_bring_it_back(patch: Patch) -> None:
    real = LogPlace.is_settled

    def is_settled(self: LogPlace, of: Segment) -> bool:
        doubtful, self.catalog.is_doubtful = self.catalog.is_doubtful, False
        try:
            return real(self, of)
        finally:
            self.catalog.is_doubtful = doubtful

    patch.setattr(LogPlace, "is_settled", is_settled)
    patch.setattr(catalog.Catalog, "mend", lambda *_: None)


def late_group_refused_though_a_crash_may_bring_it(patch: Patch) -> None:
    patch.setattr(catalog.Catalog, "may_have_group", catalog.Catalog.has_group)


def topic_kept_though_it_was_not_written(patch: Patch) -> None:
    real = catalog.Catalog._save

    def save(self: catalog.Catalog, change: Any) -> None:
        self._state.apply(change)
        with contextlib.suppress(OSError):
            real(self, change)

    patch.setattr(catalog.Catalog, "_save", save)


ALWAYS, INTERVAL, NEVER = "log-crash-always", "log-crash-interval", "log-crash-never"
RECYCLE, LYING, CLOCK = "log-crash-recycle", "log-lying-sync", "log-clock"
TOPICS, REFUSED = "log-topics", "log-topics-refused"
MUTANTS = [
    Mutant("no checksum", "L1", ALWAYS, no_checksum),
    Mutant("checksum of the body only", "L1", "log-rot", checksum_of_the_body_only, first=5),
    Mutant("short write left so", "L1", "log-short-writes", short_write_left_so),
    Mutant("frames of a segment's earlier life", "L1", RECYCLE, frames_of_any_earlier_life, seeds_max=6),
    Mutant("footer of a segment's earlier life", "L1", RECYCLE, footer_of_any_earlier_life, seeds_max=6),
    Mutant("spares used unseen", "L1", LYING, spares_used_unseen),
    Mutant("numbers of topics and groups given again", "L8", LYING, numbers_given_again, seeds_max=70, first=32),
    Mutant("no directory sync of a new segment", "L2", ALWAYS, no_directory_sync_of_a_new_segment),
    Mutant("no directory sync after a crash", "L2", "log-io-error", no_directory_sync_after_a_crash, seeds_max=6),
    Mutant("roll without flushing the old segment", "L2", INTERVAL, roll_without_flushing_the_old_segment),
    Mutant("footer flushed with its frames", "L2", NEVER, footer_before_its_frames, seeds_max=40, first=6),
    Mutant("failed flush tried again", "L3", "log-io-error", failed_flush_tried_again, seeds_max=6),
    Mutant("topic kept though it was not written", "L4", "log-no-space", topic_kept_though_it_was_not_written),
    Mutant("number of a dropped topic given again", "L4", TOPICS, number_of_a_dropped_topic_given_again),
    Mutant("drop not flushed", "L4", TOPICS, drop_not_flushed),
    Mutant("dropped topic stays in the index", "L4", TOPICS, dropped_topic_stays_in_the_index),
    Mutant("recycled in doubt", "L4", REFUSED, recycled_though_a_crash_may_bring_it_back, seeds_max=380, first=360),
    Mutant("late group refused in doubt", "L4", REFUSED, late_group_refused_though_a_crash_may_bring_it),
    Mutant("acknowledged before the flush", "L5", ALWAYS, acknowledged_before_the_flush),
    Mutant("time goes back", "L7", CLOCK, time_goes_back),
    Mutant("time stands still", "L7", CLOCK, time_stands_still),
    Mutant("time begins anew", "L7", CLOCK, time_begins_anew, seeds_max=40),
    Mutant("clock not looked at", "L7", CLOCK, clock_not_looked_at),
    Mutant("due by the time of the log", "L7", CLOCK, due_by_the_time_of_the_log),
    Mutant("written down though it is closed", "L6", RECYCLE, written_down_though_it_is_closed, seeds_max=6, first=2),
    Mutant("segments go in any order", "L8", RECYCLE, segments_go_in_any_order, seeds_max=12),
    Mutant("cursor is the highest settled", "L8", ALWAYS, cursor_is_the_highest_settled),
    Mutant("delayed message moved without a note", "L8", ALWAYS, delayed_message_moved_without_a_note),
    Mutant("retention without a look at the cursors", "L10", ALWAYS, retention_without_a_look_at_the_cursors, first=2),
    Mutant("rot taken for a torn tail", "L11", "log-rot", rot_taken_for_a_torn_tail),
    Mutant("offsets given again", "L11", NEVER, offsets_given_again, seeds_max=60, first=4),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_planted_bug_is_caught(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    seed = caught(mutant)
    record_property("caught_by_seed", seed)
    assert seed, f"{mutant.world} plays {mutant.seeds_max} seeds and does not notice: {mutant.name}"
    assert passes(mutant.world, seed)
