"""Standbys that lose what they had acknowledged, the tail or all of it, while hosts keep copies: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from evermq.ha.retained import Retained
from evermq.policy.ordered import Ordered
from evermq.port import Queue
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_adoption import AdoptingLadder, Disk, Slots
from evermq.testing.worlds.order_plans import FOUR_RUNGS, RETAINED

__all__ = ["WORLDS", "RetainedRun"]

_PRODUCERS = 3
_GROUP = "billing"
_TAIL = 3
_WINDOW = 5_000
_IDLE = "idle"  # declared, and read by nobody
_FEW = 50
_ALL = 1_000_000


class RetainedRun(Run):
    """One seed. Copies lie in slots of their own, which outlive their processes as the others do."""

    groups: ClassVar[list[str]] = [_GROUP]
    window_count_max = _WINDOW

    def queues(self) -> list[Callable[[], Queue]]:
        self.disks: list[Disk] = []
        self.copies: dict[str, list[Disk]] = {key: [] for key in [*self.rungs][1:]}
        self.retained: list[Retained] = []
        return [self._retaining for _ in range(_PRODUCERS)]

    def _retaining(self) -> Ordered:
        ladder = AdoptingLadder(self.rungs, self.disks, self.clock, self.choice)
        queue = self.ordered(ladder, ladder.take, "")
        for key, disks in self.copies.items():
            slots = Slots(disks, self.clock, window=_WINDOW)
            copies = Retained(
                self.rungs[key],
                slots,
                progress=queue.progress,
                groups=self.groups,
                send=ladder.failover.append,
                window_count_max=self.window_count_max,
                clock=self.clock,
            )
            self.retained.append(copies)
            ladder.retain(key, copies, slots)
        return queue

    async def play(self) -> None:
        for producer in self.producers:
            producer.is_named = False
        await super().play()

    async def _lose_tail(self) -> None:
        for _ in range(3):
            for key in self.copies:
                lost = self.rungs[key].lose_tail(_GROUP, self.clock.random.choice((_TAIL, _ALL)))
                self.record.seen[f"lost by the {key}"] += len(lost)
            await self.clock.sleep(self.clock.random.randrange(1_500))

    def _left(self) -> list[str]:
        left = super()._left() + [f"{disk.left} in {disk.name}" for disk in self.disks if disk.left]
        copies = [(key, disk) for key, disks in self.copies.items() for disk in disks]
        return left + [f"{n} copies of {key} in {disk.name}" for key, disk in copies if (n := disk.log.left(_GROUP))]

    def judge(self, result: WorldResult) -> None:
        super().judge(result)
        lost = sum(self.record.seen[f"lost by the {key}"] for key in self.copies)
        flagged = self.record.flagged[_GROUP]
        # Where every sender is dead at the same time, for a second or two nobody says that there are copies.
        if flagged > max(15, lost // 8):
            self.failures.append(f"{flagged} were handed out flagged, where {lost} were lost and sent again")
        result.seen["replayed"] += (replayed := sum(copies.counts.replayed for copies in self.retained))
        if not replayed and not result.failures and lost:
            result.invalid.append("standbys lost messages, and none was sent again")


class IdleRun(RetainedRun):
    """Another group is declared that nobody reads: its copies stay, far more of them than a window has room for."""

    groups: ClassVar[list[str]] = [_IDLE, _GROUP]
    window_count_max = _FEW

    def judge(self, result: WorldResult) -> None:
        super().judge(result)
        left = [disk.log.left(_IDLE) for disks in self.copies.values() for disk in disks]
        result.seen["copies that stay"] += sum(left)
        if max(left, default=0) <= _FEW and not result.failures:
            result.invalid.append("the copies of the group that is idle fit a window")


WORLDS = (
    World(
        "order-retained",
        "the standby loses what it acknowledged, and the hosts send it again",
        partial(play, RETAINED, plan_run=RetainedRun),
    ),
    World(
        "order-retained-idle",
        "as order-retained, beside a group that nobody reads and that therefore settles none of the copies",
        partial(play, RETAINED, plan_run=IdleRun),
    ),
    World(
        "order-four-retained",
        "two standbys lose what they acknowledged, each in its turn, and the hosts send it again",
        partial(play, FOUR_RUNGS, plan_run=RetainedRun),
    ),
)
