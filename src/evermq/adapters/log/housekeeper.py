"""What is done beside the hot path: spare segments, recycling, flushes that nobody waits for, the owner's lock."""

from __future__ import annotations

import logging
import os
import weakref
from collections import Counter
from collections.abc import Callable
from threading import Event, RLock, Thread
from typing import Protocol

from evermq.adapters.log.ballast import Ballast
from evermq.adapters.log.catalog import Catalog
from evermq.adapters.log.committer import Committer
from evermq.adapters.log.cursor_file import CursorFile
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.segment import Segment
from evermq.clock import Clock
from evermq.errors import EvermqError, Fenced

__all__ = ["House", "Housekeeper"]

_log = logging.getLogger("evermq.log")


class House(Protocol):
    """What is kept."""

    clock: Clock
    directory: str
    options: LogOptions
    lock: RLock
    journal: Journal
    ballast: Ballast
    catalog: Catalog
    cursor_file: CursorFile
    committer: Committer

    def is_settled(self, segment: Segment) -> bool: ...
    def unread_of(self, segment: Segment) -> Counter[str]: ...
    def check_owner(self) -> None: ...
    def mend_cursors(self) -> None: ...
    def disown(self, reason: str) -> None: ...


class Housekeeper:
    """A thread that looks after a place every interval, and at once when it is woken, from `start` on. Without
    threads, `tidy` is the caller's to call. `dropped`: how many messages of each topic went although somebody still
    needed them."""

    def __init__(self, place: House) -> None:
        self._place = place
        self._retention = place.options.retention
        self._news = Event()
        self._ended = False
        self._disk_full = False
        self._failing: set[Callable[[], None]] = set()  # what was told of
        self.dropped: Counter[str] = Counter()
        self._thread: Thread | None = None

    def start(self) -> None:
        """RuntimeError where the system has no thread for it."""
        thread = Thread(target=self._serve, name="evermq-log-housekeeper", daemon=True)
        thread.start()
        self._thread = thread
        _places.add(self._place)

    def wake(self) -> None:
        self._news.set()

    def make_room(self) -> None:
        """The disk is full: let a settled segment go that would have been retained, if there is one."""
        self._disk_full = True
        self._news.set()

    def close(self) -> None:
        self._ended = True
        self._news.set()
        if self._thread:
            self._thread.join()

    def _serve(self) -> None:
        while not self._ended:
            self._news.wait(self._place.options.interval_ms / 1000)
            self._news.clear()
            if not self._ended:
                self.tidy()
        # What was settled just now: it may be long until somebody opens this log again.
        if self._do(self._look_at_owner):
            self._do(self._recycle)

    def tidy(self) -> None:
        """One round of everything."""
        place = self._place
        if self._do(self._look_at_owner):
            self._do(self._mend_catalog)
            chores = (self._recycle, place.ballast.hold, self._prepare, self._flush, place.mend_cursors)
            for chore in (place.committer.write_left, *chores):
                self._do(chore)

    def _do(self, chore: Callable[[], None]) -> bool:
        """Returns whether it was done; if not, it is tried again in the next round."""
        try:
            chore()
        except (OSError, EvermqError):
            return False  # a full disk or a failed flush: appends meet the same error and say so to their callers
        except Exception:  # no memory, or a defect of ours: recycling must not end with it
            if chore not in self._failing:
                self._failing.add(chore)
                _log.exception("%s: a chore failed, and is tried again every interval", self._place.directory)
            return False
        self._failing.discard(chore)
        return True

    def _look_at_owner(self) -> None:
        try:
            self._place.check_owner()
        except Fenced as error:
            self._place.disown(str(error))
            raise

    def _mend_catalog(self) -> None:
        """Until then nothing is recycled: a crash may bring back who needs it."""
        place = self._place
        with place.lock:
            place.ballast.write(place.catalog.mend)

    def _recycle(self) -> None:
        place = self._place
        while True:
            with place.lock:
                oldest = self._retention.next_to_go(
                    place.journal.segments,
                    place.is_settled,
                    place.journal.time.now_ms(),
                    disk_full=self._disk_full and place.journal.spares.wanted,
                )
                unread = place.unread_of(oldest) if oldest else Counter()
            self._disk_full = False
            if oldest is None:
                return
            place.journal.forget(oldest)
            self._tell(unread)

    def _tell(self, unread: Counter[str]) -> None:
        """Messages went that somebody still needed: unread=drop."""
        self.dropped += unread
        for topic, count in unread.items():
            _log.warning(
                "topic %s: %d messages dropped that were not settled, %d since this log was opened: it is at bytes_max "
                "with unread=drop, so read faster or raise bytes_max",
                *(topic, count, self.dropped[topic]),
            )

    def _prepare(self) -> None:
        journal = self._place.journal
        if journal.spares.wanted and journal.segments and journal.segments[-1].room < journal.segments[-1].size // 2:
            journal.spares.prepare(journal.segments[-1].number + 1)

    def _flush(self) -> None:
        place = self._place
        with place.lock:
            cursors = place.cursor_file.take_dirty()
        if cursors:
            try:
                cursors.sync()
            except BaseException:
                place.cursor_file.doubt()
                raise
        if place.options.fsync == "interval":
            place.journal.sync()


_places: weakref.WeakSet[House] = weakref.WeakSet()


def _forked() -> None:
    for place in list(_places):
        place.disown("it was opened before a fork, and belongs to the parent")


os.register_at_fork(after_in_child=_forked)
