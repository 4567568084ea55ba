"""One reader of one group of a topic of Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import repeat

from evermq.adapters.kafka.group import Taken
from evermq.adapters.kafka.membership import Membership
from evermq.clock import Clock
from evermq.errors import Closed
from evermq.pause import pause_ms
from evermq.port import Delivery
from evermq.position import Position

__all__ = ["KafkaReader"]

_UNCOMMITTED_MAX = 4_000
_COMMIT_S_MAX = 1.0


class KafkaReader:
    """See `Reader`. A receipt is the bare position."""

    def __init__(self, membership: Membership, clock: Clock) -> None:
        self._membership = membership
        self._group = membership.group
        self._clock = clock
        self._news = asyncio.Event()
        self._last: list[Delivery] = []  # what was handed out last, and which offsets of each lane that is
        self._last_offsets: dict[int, Sequence[int]] = {}
        self._unseen: list[Taken] = []  # what a read has that waits for a commit
        self.is_waiting = False
        self.closed = False
        self._group.readers[self] = {}

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        until_ms = self._clock.monotonic_ms() + wait_ms
        while True:
            self._check()
            self._news.clear()
            taken = self._group.take(self, count_max, self._clock.monotonic_ms())
            if taken:
                return await self._hand_out(taken)
            left_ms = until_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                return []
            await self._wait(left_ms)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        # Who acknowledges what the last read gave, whole, spares us to look at each: the elements are the same objects.
        whole = deliveries == self._last
        settled = self._group.settle(self, self._last_offsets if whole else _by_lane(deliveries))
        if settled:
            self._membership.commits.soon(settled)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        due_ms = self._clock.monotonic_ms() + pause_ms(delay_ms)
        if self._group.release(self, _by_lane(deliveries), due_ms):
            self._membership.commits.soon()

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._unseen:
                self._group.untake(self, self._unseen)
            self._group.leave(self)
            self.wake()
        await self._membership.leave()

    def wake(self) -> None:
        """Look again."""
        self._news.set()

    def _check(self) -> None:
        if self.closed:
            raise Closed(f"this reader of group {self._group.name} was closed: open another one")
        self._membership.check()

    async def _hand_out(self, taken: list[Taken]) -> list[Delivery]:
        """Commits and reads overlap; only where so much was acknowledged and is not committed that a crash would repeat
        too much, the commit is waited for."""
        self._membership.fetch_ahead()
        commits = self._membership.commits
        deliveries, self._last_offsets = _deliveries(taken)
        self._last = deliveries.copy()
        if commits.uncommitted > _UNCOMMITTED_MAX:
            self._unseen = taken
            try:
                await commits.wait(commits.pending, _COMMIT_S_MAX)
                self._check()
            except BaseException:
                self._group.untake(self, taken)
                raise
            finally:
                self._unseen = []
        return deliveries

    async def _wait(self, wait_ms: float) -> None:
        due_ms = self._group.due_ms()
        if due_ms is not None:
            wait_ms = min(wait_ms, max(1, due_ms - self._clock.monotonic_ms()))
        self.is_waiting = True
        self._membership.fetch()
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._news.wait()
        except TimeoutError:
            pass
        finally:
            self.is_waiting = False


def _deliveries(taken: list[Taken]) -> tuple[list[Delivery], dict[int, Sequence[int]]]:
    """What a reader is handed, and the offsets by lane."""
    found: list[Delivery] = []
    by_lane: dict[int, Sequence[int]] = {}
    for lane, rows, attempts in taken:
        offsets, messages = zip(*rows, strict=True)
        positions = list(map(Position, repeat(lane.name), offsets))
        found += map(Delivery, messages, positions, positions, repeat(1) if attempts is None else attempts)
        by_lane[lane.number] = offsets
    return found, by_lane


def _by_lane(deliveries: Sequence[Delivery]) -> dict[int, list[int]]:
    receipts: list[Position] = [delivery.receipt for delivery in deliveries]
    lanes = {receipt.lane for receipt in receipts}
    if len(lanes) == 1:
        return {int(lanes.pop()): [receipt.offset or 0 for receipt in receipts]}
    found: dict[int, list[int]] = {int(lane): [] for lane in lanes}
    for receipt in receipts:
        found[int(receipt.lane)].append(receipt.offset or 0)
    return found
