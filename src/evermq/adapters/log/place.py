"""A directory of the embedded log: open it, and it serves all its topics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

from evermq.adapters.log.ballast import Ballast, is_full
from evermq.adapters.log.catalog import Catalog, GroupRecord, TopicRecord
from evermq.adapters.log.committer import Committer
from evermq.adapters.log.cursor_file import Change, CursorFile
from evermq.adapters.log.damage import Damage
from evermq.adapters.log.disk import Disk
from evermq.adapters.log.frame import Piece
from evermq.adapters.log.group import Group
from evermq.adapters.log.housekeeper import Housekeeper
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.lane_cursor import LaneCursor
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.owner import OwnerLock
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.reading import Reading
from evermq.adapters.log.restore import restore
from evermq.adapters.log.segment import Segment
from evermq.adapters.log.system_disk import SystemDisk
from evermq.adapters.log.topic import Topic
from evermq.adapters.log.trial import takes_writes
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Damaged, NoSuchTopic, Unavailable, Uncertain
from evermq.port import GroupState, Start, TopicState
from evermq.topics import check_group, check_lanes, check_topic

__all__ = ["LogPlace"]

_log = logging.getLogger("evermq.log")


class LogPlace:
    """See `Place`. Made by `LogPlace.open`, or with a disk of one's own and `threaded=False` in a simulation."""

    def __init__(
        self,
        disk: Disk,
        options: LogOptions,
        *,
        clock: Clock = SYSTEM,
        threaded: bool = True,
        owner: OwnerLock | None = None,
        directory: str = "this log",
    ) -> None:
        self.clock = clock
        self.directory = directory
        self.options = options
        self.lock = RLock()
        self._owner, self._failure = owner, ""
        self.ballast = Ballast(disk, options.segment_bytes)
        self.catalog = Catalog(disk)
        self.journal = Journal.open(
            disk,
            clock,
            segment_bytes=options.segment_bytes,
            spares_max=options.spares_max,
            sync_every_write=options.fsync == "always",
        )
        self.journal.may_grow = lambda: options.retention.may_grow(self.journal.segments)
        self.journal.spares.before_make = self.ballast.hold
        self.journal.on_damage = self._warn
        self.reading = Reading(self.journal)
        self.cursor_file = CursorFile(disk)
        self.committer = Committer(
            self.journal,
            message_bytes_max=options.message_bytes_max,
            threaded=threaded and options.writer == "thread",
            now_ms=clock.now_ms,
            on_commit=self._committed,
            on_wake=self._wake,
        )
        self.topics_by_number = {record.number: Topic(self, record) for record in self.catalog.topics}
        self._topics_by_name = {topic.name: topic for topic in self.topics_by_number.values()}
        self._housekeeper = Housekeeper(self)
        self.journal.on_full = self._housekeeper.make_room
        try:
            restore(self)
            self._tell_damages()
            if threaded:
                self._start()
        except BaseException:
            self._abandon()
            raise

    @classmethod
    async def open(cls, directory: str | Path, *, clock: Clock = SYSTEM, **options: Any) -> LogPlace:
        """Own a directory, which is made if it is missing; the options are the fields of LogOptions.

        Raises Owned if another process has it, Damaged for a newer format, Misconfigured for a wrong option,
        Unavailable where the directory cannot be used.
        """
        path = Path(directory)
        chosen = LogOptions.of(options)
        try:
            disk = SystemDisk(path)
            owner = OwnerLock(path)
        except OSError as error:
            is_file = isinstance(error, FileExistsError | NotADirectoryError)
            reason = "it is a file, or lies below one" if is_file else error.strerror
            raise Unavailable(f"{path} cannot be used as a log: {reason}; choose another directory") from error
        try:
            return cls(disk, chosen, clock=clock, owner=owner, directory=str(path))
        except OSError as error:
            owner.release()
            raise Unavailable(f"{path} cannot be read: {error.strerror}; see `evermq verify`") from error
        except Damaged as error:
            owner.release()
            raise Damaged(f"{path}: {error}") from error
        except BaseException:
            owner.release()
            raise

    def _start(self) -> None:
        try:
            self.committer.start()
            self._housekeeper.start()
        except RuntimeError as error:
            raise Unavailable(
                f"{self.directory} cannot be used as a log: {error}; end some threads, or raise the limit"
            ) from error

    def _abandon(self) -> None:
        """It could not be opened: no thread and no file of it stays, and nothing is written."""
        self.journal.failure = "it could not be opened"
        self.committer.close()
        self.journal.close()
        self.cursor_file.close()

    async def queue(self, topic: str) -> LogQueue:
        """The queue of a topic, which is made if it is missing."""
        with self.lock:
            found = self._topic(topic) or self._make_topic(topic, self.options.lanes)
        return LogQueue(found, durable=self.options.durable, message_bytes_max=self.options.message_bytes_max)

    async def topics(self) -> list[str]:
        self.check()
        return sorted(self._topics_by_name)

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        self.check()
        for group in groups:
            check_group(group)
        with self.lock:
            found = self._topic(topic)
            differs = []
            if found and lanes is not None and found.record_.lanes != lanes:
                differs.append(f"topic {topic} has {found.record_.lanes} lanes, not {lanes}; it keeps them")
            found = found or self._make_topic(topic, lanes or self.options.lanes)
            for group in groups:
                found.group(group, Start.OLDEST)
        return differs

    async def drop(self, topic: str) -> None:
        self.check()
        with self.lock:
            found = self._topic(topic)
            if found is None:
                raise NoSuchTopic(f"there is no topic {topic}")
            try:
                self._save(
                    partial(self.catalog.drop_topic, found.number), lambda: not self.catalog.has_topic(found.number)
                )
            finally:
                if not self.catalog.has_topic(found.number):
                    found.dropped = found.lanes.dropped = True
                    del self.topics_by_number[found.number], self._topics_by_name[topic]

    async def describe(self, topic: str) -> TopicState:
        self.check()
        found = self._topic(topic)
        if found is None:
            raise NoSuchTopic(f"there is no topic {topic}")
        now_ms = self.journal.time.now_ms()
        groups = {}
        for name in list(found.groups):
            oldest = found.oldest_ms(name)
            groups[name] = GroupState(found.backlog(name, None), None if oldest is None else max(0, now_ms - oldest))
        appended = sum(found.end(lane) for lane in range(found.record_.lanes))
        return TopicState(found.record_.lanes, groups, appended, self.options.shown)

    async def reset(self, topic: str, group: str, start: Start) -> None:
        """Let a group begin again at `start`, within what is kept. Raises NoSuchTopic for one that does not exist,
        Rejected while it has readers in any process."""
        found = self._topic(topic)
        if found is None:
            raise NoSuchTopic(f"there is no topic {topic}")
        found.reset(check_group(group), start)

    async def close(self) -> None:
        self.shut()

    def shut(self) -> None:
        """As `close`, from any thread. Raises Unavailable in the middle of an append of the same one."""
        if not self._failure:
            if self.committer.is_here():
                raise Unavailable("this thread is in the middle of an append: close the log once that has returned")
            self._failure = "it was closed"
            for topic in list(self.topics_by_number.values()):
                topic.wake_all()
            self._housekeeper.close()
            self.committer.close()
            try:
                with self.lock:
                    self._close_cursors()
            except OSError as error:
                raise Unavailable(f"what groups have done was not flushed ({error}): it may come again") from error
            finally:
                self.journal.close()
                self.committer.let_go()
                if self._owner:
                    self._owner.release()

    def check(self) -> None:
        """Raise Closed or Unavailable where this place no longer serves."""
        if self._failure:
            raise Closed(f"this log cannot be used any more, {self._failure}: open it again")

    @property
    def has_failed(self) -> bool:
        """Whether a write that failed closed it to appends. Reading and acknowledging go on."""
        return bool(self.journal.failure) and not self._failure

    def takes_writes(self) -> bool:
        """Whether the disk does, by trying: then it can be closed and opened again. From any thread."""
        return takes_writes(self.journal.disk)

    def disown(self, reason: str) -> None:
        """Serve nothing any more: this process is not, or no longer, the owner."""
        self._failure = self.journal.failure = reason
        if self._owner:
            self._owner.release()

    @property
    def settings(self) -> dict[str, str]:
        """The options that count for every process that uses the directory through this one."""
        return self.options.shared

    @property
    def damages(self) -> list[Damage]:
        """What was found not to be intact, when the directory was opened and while it was read."""
        with self.journal.lock:
            return list(self.journal.state.damages)

    @property
    def dropped(self) -> Counter[str]:
        """How many messages of each topic went by unread=drop although somebody still needed them, since it was
        opened."""
        return self._housekeeper.dropped

    def tidy(self) -> None:
        """Do now what is done from time to time: recycle segments, prepare spare ones, flush acknowledgements."""
        self._housekeeper.tidy()

    def is_settled(self, segment: Segment) -> bool:
        """Whether no group of any topic needs a message of this segment any more, after a crash neither."""
        if self.catalog.is_doubtful:
            return False
        topics = self.topics_by_number
        lanes = [
            (topics[number], lane, marks.end) for (number, lane), marks in segment.marks.items() if number in topics
        ]
        return all(topic.has_settled(lane, end) for topic, lane, end in lanes)

    def unread_of(self, segment: Segment) -> Counter[str]:
        """How many messages of each topic in this segment somebody still needs."""
        found: Counter[str] = Counter()
        for (number, lane), marks in segment.marks.items():
            topic = self.topics_by_number.get(number)
            if topic:
                found[topic.name] += topic.unread(lane, marks.offsets[0], marks.end)
        return +found

    def check_owner(self) -> None:
        """Raise Fenced where somebody else may own the directory by now."""
        if self._owner:
            self._owner.check()

    def mend_cursors(self) -> None:
        """Write down all that groups have done, if the file of it may lack something. Raises as `record` does."""
        if self.cursor_file.is_doubtful:
            self.record([])

    def record(self, changes: list[Change]) -> None:
        """Write down what groups have done. Raises Unavailable where the disk refuses: it may come again; Closed
        where this place is closed, since the file may be another owner's by now."""
        with self.lock:
            self.check()
            try:
                if self.cursor_file.is_due:
                    self._compact()
                else:
                    self._add(changes)
            except OSError as error:
                self.cursor_file.doubt()  # the groups know more than the file does
                raise Unavailable(
                    f"what was acknowledged could not be written down ({error.strerror}): it may come again"
                ) from error

    def _add(self, changes: list[Change]) -> None:
        try:
            self.cursor_file.add(changes)
        except OSError as error:
            if not is_full(error):
                raise
            self._compact()  # the old file makes room for what comes next

    def _compact(self) -> None:
        cursors = [c for t in self.topics_by_number.values() for g in t.groups.values() for c in g.cursors]
        self.ballast.write(lambda: self.cursor_file.replace(cursor.snapshot() for cursor in cursors))

    def _close_cursors(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self.cursor_file.flush()
            if self.cursor_file.is_doubtful:
                self._compact()
        finally:
            self.cursor_file.close()

    def make_group(self, topic: Topic, name: str, starts: list[int]) -> None:
        """A new group of the topic, in the place of one of its name, durably known before anybody reads in it."""
        record = GroupRecord(number=self.catalog.number(), topic=topic.number, name=name, starts=starts)
        try:
            self._save(partial(self.catalog.add_group, record), lambda: self.catalog.may_have_group(record))
        finally:
            if self.catalog.has_group(record):
                cursors = [LaneCursor(record.number, lane, start) for lane, start in enumerate(starts)]
                topic.groups[name] = Group(record.number, name, topic.number, cursors, self.reading)

    def _topic(self, name: str) -> Topic | None:
        self.check()
        check_topic(name)
        return self._topics_by_name.get(name)

    def _make_topic(self, name: str, lanes: int) -> Topic:
        check_lanes(lanes, 65_536)
        record = TopicRecord(number=self.catalog.number(), name=name, lanes=lanes, created_ms=self.clock.now_ms())
        self._save(partial(self.catalog.add_topic, record))
        topic = self.topics_by_number[record.number] = self._topics_by_name[name] = Topic(self, record)
        return topic

    def _save(self, change: Callable[[], None], is_seen: Callable[[], bool] = lambda: False) -> None:
        """is_seen: whether a crash may find the change, which failed. One that takes something away holds from now on,
        though it may be gone after a crash."""
        try:
            self.ballast.write(change)
        except OSError as error:
            what = f"topics and groups could not be written down: {error.strerror}"
            if is_seen():
                raise Uncertain(f"{what}; it may be done all the same, or be so after a crash") from error
            raise Unavailable(what) from error

    def _tell_damages(self) -> None:
        for damage in self.damages:
            self._warn(damage)
        if self.cursor_file.damaged_bytes:
            _log.warning(
                "%s: %d bytes of %s are not intact: groups see messages again that they had settled",
                *(self.directory, self.cursor_file.damaged_bytes, self.cursor_file.name),
            )

    def _warn(self, damage: Damage) -> None:
        _log.warning("%s: %s; `evermq verify %s` says what is gone", self.directory, damage, self.directory)

    def _committed(
        self, numbers: Iterable[int], delayed: Sequence[Piece]
    ) -> dict[asyncio.AbstractEventLoop, dict[Topic, None]]:
        """Returns by loop the topics whose waiting readers there have news."""
        for piece in delayed:  # before it is asked who waits: who begins to wait behind that has seen them
            if topic := self.topics_by_number.get(piece.topic):
                topic.note_delayed(piece)
        news: dict[asyncio.AbstractEventLoop, dict[Topic, None]] = {}
        for number in numbers:
            if topic := self.topics_by_number.get(number):
                for loop in list(topic.waiting) if topic.waiting else ():
                    news.setdefault(loop, {})[topic] = None
        if self.journal.has_rolled:
            self.journal.has_rolled = False
            self._housekeeper.wake()
        return news

    def _wake(self, loop: asyncio.AbstractEventLoop, topics: Iterable[Topic]) -> None:
        for topic in topics:
            for reader in list(topic.waiting.get(loop, ())):
                reader.wake()
