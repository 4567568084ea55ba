"""One reader of one group of the embedded log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

from evermq.adapters.log.cursor_file import Change
from evermq.adapters.log.gaps import Gap
from evermq.adapters.log.group import Group, Handed
from evermq.adapters.log.topic import Topic
from evermq.errors import Closed, Unavailable
from evermq.pause import pause_ms
from evermq.port import Delivery
from evermq.position import Position

__all__ = ["LogReader"]

_CLOCK_LOOK_MS = 1_000  # while something waits for its time: nobody tells that the clock was set
_BYTES_ENOUGH = 32 << 20  # of one read: it has to be held in memory, and may have to cross a socket


class LogReader:
    """See `Reader`. A receipt is the bare position."""

    def __init__(self, topic: Topic, group: Group) -> None:
        self._topic = topic
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._last: list[Delivery] = []  # what was handed out last, and which offsets of each lane that is
        self._last_offsets: dict[str, Sequence[int]] = {}
        self._kept: list[Delivery] = []  # was taken, to be handed out once what was passed over has been told
        self.is_waiting = False
        self.closed = False

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        clock = self._topic.clock
        until_ms = clock.monotonic_ms() + wait_ms
        while True:
            self._check()
            await self._topic.delays.move_due(clock.now_ms())
            with self._topic.lock:
                is_anyone_hungry = self._group.is_anyone_hungry_beside(self)
            if is_anyone_hungry:
                await asyncio.sleep(0)  # it was woken, but has not run yet: who never pauses would take its lanes too
            found = self._take(count_max)
            left_ms = until_ms - clock.monotonic_ms()
            if found or left_ms <= 0:
                return found
            self._topic.listen(self._loop, self)
            try:
                # Once more, now that nothing can come unheard.
                self._news.clear()
                if found := self._take(count_max):
                    return found
                await self._wait(left_ms)
            finally:
                self._topic.forget(self._loop, self)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        # Who acknowledges what the last read gave, whole, spares us to look at each: the elements are the same objects.
        by_lane = self._last_offsets if deliveries == self._last else _by_lane(deliveries)
        with self._topic.lock:
            changes = self._change(by_lane, lambda lane, offsets: self._group.cursors[lane].settle(offsets))
            self._record(changes)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        due_ms = self._topic.time.now_ms() + pause_ms(delay_ms)
        with self._topic.lock:
            changes = self._change(_by_lane(deliveries), lambda lane, offsets: self._release(lane, offsets, due_ms))
            self._record(changes)
            # What was taken and not handed out yet may have gone back with its key.
            self._kept = [each for each in self._kept if self._is_out(each)]
            for reader in self._group.readers:
                reader.wake()

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            with self._topic.lock, contextlib.suppress(Closed):  # of a closed log, what it held comes again anyway
                self._topic.record(self._group.leave(self))
            self.wake()

    def wake(self) -> None:
        """Look again; from any thread."""
        if asyncio._get_running_loop() is self._loop:
            self._news.set()
        else:
            with contextlib.suppress(RuntimeError):  # its loop was closed: it waits for nothing any more
                self._loop.call_soon_threadsafe(self._news.set)

    def _check(self) -> None:
        if self.closed:
            raise Closed(f"this reader of group {self._group.name} was closed: open another one")
        self._topic.check()

    def _take(self, count_max: int) -> list[Delivery]:
        """Raises Damaged, once, where the group went past what is not intact: the next call goes on behind it."""
        if not self._kept:
            self._kept, gaps = self._take_from_lanes(count_max)
            if gaps and (error := self._topic.damaged(gaps)):
                raise error
        found, self._kept = self._kept[:count_max], self._kept[count_max:]
        return found

    def _take_from_lanes(self, count_max: int) -> tuple[list[Delivery], list[Gap]]:
        deliveries: list[Delivery] = []
        by_lane: dict[str, Sequence[int]] = {}
        group, topic = self._group, self._topic
        now_ms = topic.time.now_ms()
        with topic.lock:
            changes: list[Change] = []
            size = 0
            ends = topic.ends()
            for lane in group.candidates(ends):
                if not group.may_read(self, lane):
                    continue
                handed, more = group.take(self, lane, count_max - len(deliveries), ends[lane], now_ms)
                changes += more
                deliveries += _deliver(topic.names[lane], handed)
                by_lane[topic.names[lane]] = handed[1]
                if len(deliveries) >= count_max:
                    break
                size += handed[3]
                if size >= _BYTES_ENOUGH:
                    break
            with contextlib.suppress(Unavailable):  # handed out all the same: a crash would forget this attempt
                topic.record(changes)
            gaps = group.take_passed()
        self._last, self._last_offsets = deliveries.copy(), by_lane
        return deliveries, gaps

    async def _wait(self, wait_ms: float) -> None:
        topic = self._topic
        with topic.lock:
            dues = [due for cursor in self._group.cursors if (due := cursor.due_ms()) is not None]
        lefts = [min(dues) - topic.time.now_ms()] if dues else []
        if (due := topic.delays.next_due_ms()) is not None:
            lefts.append(due - topic.clock.now_ms())
        if lefts:
            wait_ms = min(wait_ms, max(1, min(lefts)), _CLOCK_LOOK_MS)
        self.is_waiting = True
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._news.wait()
        except TimeoutError:
            pass
        finally:
            self.is_waiting = False

    def _record(self, changes: list[Change]) -> None:
        if changes:
            self._topic.record(changes)
        else:
            self._topic.place.mend_cursors()  # what is done again changes nothing, and may not have been written down

    def _release(self, lane: int, offsets: Iterable[int], due_ms: int) -> Change | None:
        return self._group.cursors[lane].release(offsets, due_ms, lambda wanted: self._group.keys(lane, wanted))

    def _is_out(self, delivery: Delivery) -> bool:
        position = delivery.position
        return position.offset in self._group.cursors[int(position.lane)].out

    def _change(
        self, by_lane: dict[str, Sequence[int]], act: Callable[[int, Sequence[int]], Change | None]
    ) -> list[Change]:
        changes = []
        for name, offsets in by_lane.items():
            lane = int(name)
            if self._group.cursors[lane].holder is self:
                change = act(lane, offsets)
                if change:
                    changes.append(change)
                self._group.drop_hold(lane)
        return changes


def _by_lane(deliveries: Sequence[Delivery]) -> dict[str, Sequence[int]]:
    if not deliveries:
        return {}
    receipts: list[Position] = [delivery.receipt for delivery in deliveries]
    lanes = [receipt.lane for receipt in receipts]
    offsets = [receipt.offset or 0 for receipt in receipts]
    if lanes.count(lanes[0]) == len(lanes):
        return {lanes[0]: _as_run(offsets)}
    found: dict[str, list[int]] = {}
    for lane, offset in zip(lanes, offsets, strict=True):
        if lane in found:
            found[lane].append(offset)
        else:
            found[lane] = [offset]
    return dict(found)


def _as_run(offsets: list[int]) -> Sequence[int]:
    """The same as a range, where they follow one another."""
    run = range(offsets[0], offsets[0] + len(offsets))
    return run if offsets[-1] == run[-1] and offsets == list(run) else offsets


def _deliver(lane: str, handed: Handed) -> list[Delivery]:
    messages, offsets, attempts, _ = handed
    positions = list(map(Position, repeat(lane), offsets))
    return list(map(Delivery, messages, positions, positions, attempts or repeat(1)))
