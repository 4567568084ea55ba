"""Messages that wait for their time: kept in a lane of their own, moved to their lanes when they are due.

The move and the note of it are one frame, so a crash leaves a message in exactly one of the two.
"""

from __future__ import annotations

import asyncio
import heapq
from array import array
from collections.abc import Iterator

from evermq.adapters.log.batch import Batch, load
from evermq.adapters.log.committer import Committer
from evermq.adapters.log.frame import Entry, Kind
from evermq.adapters.log.load import DELAY_LANE, DUE_LANE, TopicLanes
from evermq.adapters.log.reading import LaneScan, Reading, bytes_of
from evermq.errors import EvermqError, Unavailable
from evermq.message import Message

__all__ = ["Delays"]

_MOVE_COUNT_MAX = 500
_PAUSE_MS = 1_000  # after a move that was refused


class Delays:
    """The waiting messages of one topic, as (due_ms, offset in the delay lane)."""

    def __init__(self, topic: TopicLanes, reading: Reading, committer: Committer, move_bytes_max: int) -> None:
        self._topic = topic
        self._reading = reading
        self._committer = committer
        self._move_bytes_max = move_bytes_max
        self._scan = LaneScan(reading, topic.number, DELAY_LANE)
        self._heap: list[tuple[int, int]] = []
        self._moving = 0
        self._refused_ms = -_PAUSE_MS

    @property
    def count(self) -> int:
        """How many wait, those on their way included."""
        return len(self._heap) + self._moving

    @property
    def low(self) -> int | None:
        """The first offset of the delay lane that is still needed, None if none is."""
        return min((offset for _, offset in self._heap), default=None) if not self._moving else 0

    def waiting_below(self, end: int) -> int:
        """How many of the delay lane wait below this offset."""
        return sum(offset < end for _, offset in self._heap)

    def next_due_ms(self) -> int | None:
        """When to move something next."""
        return max(self._heap[0][0], self._refused_ms + _PAUSE_MS) if self._heap else None

    def add(self, due_ms: int, offset: int) -> None:
        heapq.heappush(self._heap, (due_ms, offset))

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
        while self._heap and self._heap[0][0] <= now_ms:
            due, messages = self._take_due(now_ms)
            if messages:
                # In a task of its own: a reader that is cancelled must not take along what it moves.
                task = asyncio.ensure_future(self._move(due, messages))
                task.add_done_callback(_see)
                try:
                    await asyncio.shield(task)
                except Unavailable:
                    self._reading.check()
                    self._refused_ms = now_ms
                    return

    def _take_due(self, now_ms: int) -> tuple[list[tuple[int, int]], list[Message]]:
        due: list[tuple[int, int]] = []
        messages: list[Message] = []
        size = 0
        while self._heap and self._heap[0][0] <= now_ms and len(due) < _MOVE_COUNT_MAX:
            message = self._message(self._heap[0][1])
            if message is None:
                heapq.heappop(self._heap)
                continue
            size += bytes_of(message)
            if messages and size > self._move_bytes_max:
                break
            due.append(heapq.heappop(self._heap))
            messages.append(message)
        return due, messages

    async def _move(self, due: list[tuple[int, int]], messages: list[Message]) -> None:
        self._moving += len(due)
        try:
            made = load(self._topic, messages, 0, self._committer.buffers, moved=[offset for _, offset in due])
            await self._committer.commit(Batch(self._topic, messages, made.size, made))
        except EvermqError:
            for pair in due:  # the log says in its own words what is wrong with it; they wait on
                heapq.heappush(self._heap, pair)
            raise
        finally:
            self._moving -= len(due)

    def _message(self, offset: int) -> Message | None:
        """None where it is damaged: there is nothing to wait for."""
        messages, ranges, _ = self._scan.fetch(offset, 1)
        return messages[0] if messages and ranges[0].start == offset else None

    def _entries(self, lane: int, start: int) -> Iterator[Entry]:
        at = self._reading.find(self._topic.number, lane, start)
        kind = Kind.DELAYED if lane == DELAY_LANE else Kind.DUE
        for frame in self._reading.frames(at) if at else ():
            yield from (e for e in frame.entries if (e.topic, e.kind) == (self._topic.number, kind))


def _see(task: asyncio.Task[None]) -> None:
    """Whoever waited for it may be gone; what it raised is the log's failure, which everybody meets."""
    if not task.cancelled():
        task.exception()


def _numbers(typecode: str, entry: Entry, size: int) -> array[int]:
    numbers: array[int] = array(typecode)
    numbers.frombytes(entry.payload[:size])
    return numbers
