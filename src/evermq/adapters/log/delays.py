"""Messages that wait for their time: kept in a lane of their own, moved to their lanes when they are due.

The move and the note of it are one frame, so a crash leaves a message in exactly one of the two.
"""

from __future__ import annotations

import asyncio
import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import Lock

from evermq.adapters.log.batch import Batch, load
from evermq.adapters.log.committer import Committer
from evermq.adapters.log.frame import Entry, Kind
from evermq.adapters.log.load import DELAY_LANE, DUE_LANE, Load, TopicLanes
from evermq.adapters.log.reading import LaneScan, Reading, bytes_of
from evermq.errors import EvermqError, Unavailable
from evermq.message import Message
from evermq.ticket import Ticket

__all__ = ["Delays"]

_MOVE_COUNT_MAX = 500
_PAUSE_MS = 1_000  # after a move that was refused

Due = tuple[int, int]  # due_ms, offset in the delay lane


class _Move(Batch):
    """Messages on their way to their lanes. on_fail(): called once if they do not come there."""

    __slots__ = ("_on_fail", "ticket")

    ticket: Ticket

    def __init__(self, topic: TopicLanes, messages: Sequence[Message], made: Load, on_fail: Callable[[], None]) -> None:
        super().__init__(topic, messages, made.size, made)
        self._on_fail: Callable[[], None] | None = on_fail

    def fail(self, error: EvermqError) -> None:
        super().fail(error)
        on_fail, self._on_fail = self._on_fail, None
        if on_fail:
            on_fail()


class Delays:
    """The waiting messages of one topic. Readers of any loop move what is due: `_taking` lets one of them choose at a
    time, `_lock` guards what waits. `_order`: the offsets that are still needed, the lowest first, and some between
    them that are not, `_moved`."""

    def __init__(self, topic: TopicLanes, reading: Reading, committer: Committer, move_bytes_max: int) -> None:
        self._topic = topic
        self._reading = reading
        self._committer = committer
        self._move_bytes_max = move_bytes_max
        self._scan = LaneScan(reading, topic.number, DELAY_LANE)
        self._heap: list[Due] = []
        self._order: deque[int] = deque()
        self._moved: set[int] = set()
        self._lock, self._taking = Lock(), Lock()
        self._refused_ms = -_PAUSE_MS

    @property
    def count(self) -> int:
        """How many wait, those on their way included."""
        return len(self._order) - len(self._moved)

    @property
    def low(self) -> int | None:
        """The first offset of the delay lane that is still needed, None if none is."""
        with self._lock:
            return self._order[0] if self._order else None

    def waiting_below(self, end: int) -> int:
        """How many of the delay lane wait below this offset."""
        with self._lock:
            return sum(offset < end and offset not in self._moved for offset in self._order)

    def next_due_ms(self) -> int | None:
        """When to move something next."""
        with self._lock:
            return max(self._heap[0][0], self._refused_ms + _PAUSE_MS) if self._heap else None

    def add(self, due_ms: int, offset: int) -> None:
        """One more, behind all others of the delay lane."""
        with self._lock:
            heapq.heappush(self._heap, (due_ms, offset))
            self._order.append(offset)

    def moved(self, offsets: Iterable[int]) -> None:
        """They are in their lanes, durably: they need not be kept any more."""
        with self._lock:
            self._moved.update(offsets)
            while self._order and self._order[0] in self._moved:
                self._moved.remove(self._order.popleft())

    def load(self, start: int, due_start: int) -> int:
        """Rebuild from the log: what was delayed and not moved. The arguments are the starts of the two lanes; returns
        the offset behind all that was moved."""
        moved: set[int] = set()
        for entry in self._entries(DUE_LANE, due_start):
            moved.update(_numbers("Q", entry, 8 * entry.message_count))
        for entry in self._entries(DELAY_LANE, start):
            dues = _numbers("q", entry, 8 * entry.message_count)
            for offset, due_ms in enumerate(dues, entry.offset):
                if offset not in moved:
                    self.add(due_ms, offset)
        return max(moved, default=-1) + 1

    async def move_due(self, now_ms: int) -> None:
        """Append to their lanes what is due by now; where there is no room for it, later: readers make room.
        Raises Unavailable where the log is closed."""
        if abs(now_ms - self._refused_ms) < _PAUSE_MS:
            return
        while batch := self._begin(now_ms):
            try:
                await batch.ticket.future
            except asyncio.CancelledError:
                await batch.ticket.wait_on()
            try:
                batch.result()
            except Unavailable:
                self._reading.check()
                self._refused_ms = now_ms
                return

    def _begin(self, now_ms: int) -> _Move | None:
        """The next move, on its way: what is due first goes first, whoever moves it."""
        with self._taking:
            due, messages = self._take_due(now_ms)
            if not due:
                return None
            try:
                offsets = [offset for _, offset in due]
                made = load(self._topic, messages, 0, self._committer.buffers, moved=offsets)
                batch = _Move(self._topic, messages, made, partial(self._wait_on, due))
                batch.ticket = self._committer.join(batch)
            except Exception:
                self._wait_on(due)
                raise
            return batch

    def _take_due(self, now_ms: int) -> tuple[list[Due], list[Message]]:
        due: list[Due] = []
        messages: list[Message] = []
        size = 0
        try:
            while len(due) < _MOVE_COUNT_MAX and (first := self._pop(now_ms)):
                due.append(first)
                message = self._message(first[1])
                if message is None:
                    self.moved([due.pop()[1]])
                    continue
                size += bytes_of(message)
                if messages and size > self._move_bytes_max:
                    self._wait_on([due.pop()])
                    break
                messages.append(message)
        except BaseException:
            self._wait_on(due)
            raise
        return due, messages

    def _pop(self, now_ms: int) -> Due | None:
        with self._lock:
            return heapq.heappop(self._heap) if self._heap and self._heap[0][0] <= now_ms else None

    def _wait_on(self, due: Iterable[Due]) -> None:
        with self._lock:
            for each in due:
                heapq.heappush(self._heap, each)

    def _message(self, offset: int) -> Message | None:
        """None where it is damaged: there is nothing to wait for."""
        messages, ranges, _ = self._scan.fetch(offset, 1)
        return messages[0] if messages and ranges[0].start == offset else None

    def _entries(self, lane: int, start: int) -> Iterator[Entry]:
        at = self._reading.find(self._topic.number, lane, start)
        kind = Kind.DELAYED if lane == DELAY_LANE else Kind.DUE
        for frame in self._reading.frames(at) if at else ():
            yield from (e for e in frame.entries if (e.topic, e.kind) == (self._topic.number, kind))


def _numbers(typecode: str, entry: Entry, size: int) -> array[int]:
    numbers: array[int] = array(typecode)
    numbers.frombytes(entry.payload[:size])
    return numbers
