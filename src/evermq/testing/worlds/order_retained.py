"""A standby that loses what it had acknowledged, its tail or all of it, while hosts keep copies: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from evermq.ha.retained import Retained
from evermq.policy.ordered import Ordered
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_adoption import AdoptingLadder, Disk, Slots
from evermq.testing.worlds.order_plans import RETAINED

__all__ = ["WORLDS", "RetainedRun"]

_PRODUCERS = 3
_GROUP = "billing"
_TAIL = 3
_WINDOW = 5_000
_ALL = 1_000_000


class RetainedRun(Run):
    """One seed. Copies lie in slots of their own, which outlive their processes as the others do."""

    def queues(self) -> list[Callable[[], Ordered]]:
        self.disks: list[Disk] = []
        self.copies: list[Disk] = []
        self.retained: list[Retained] = []
        return [self._retaining for _ in range(_PRODUCERS)]

    def _retaining(self) -> Ordered:
        ladder = AdoptingLadder(self.rungs["primary"], self.rungs["standby"], self.disks, self.clock, self.choice)
        queue = self.ordered(ladder, ladder.take, "")
        slots = Slots(self.copies, self.clock, window=_WINDOW)
        copies = Retained(
            self.rungs["standby"],
            slots,
            progress=queue.progress,
            groups=[_GROUP],
            send=ladder.failover.append,
            clock=self.clock,
        )
        self.retained.append(copies)
        ladder.retain(copies, slots)
        return queue

    async def play(self) -> None:
        for producer in self.producers:
            producer.is_named = False
        await super().play()

    async def _lose_tail(self) -> None:
        for _ in range(3):
            lost = self.rungs["standby"].lose_tail(_GROUP, self.clock.random.choice((_TAIL, _ALL)))
            self.record.seen["lost by the standby"] += len(lost)
            await self.clock.sleep(self.clock.random.randrange(1_500))

    def _left(self) -> list[str]:
        left = super()._left() + [f"{disk.left} in {disk.name}" for disk in self.disks if disk.left]
        return left + [f"{n} copies in {disk.name}" for disk in self.copies if (n := disk.log.left("settled"))]

    def judge(self, result: WorldResult) -> None:
        super().judge(result)
        lost, flagged = self.record.seen["lost by the standby"], self.record.flagged[_GROUP]
        if flagged > max(15, lost // 20):
            self.failures.append(f"{flagged} were handed out flagged, where {lost} were lost and sent again")
        result.seen["replayed"] += (replayed := sum(copies.counts.replayed for copies in self.retained))
        if not replayed and not result.failures and self.record.seen["lost by the standby"]:
            result.invalid.append("the standby lost messages, and none was sent again")


WORLDS = (
    World(
        "order-retained",
        "the standby loses what it acknowledged, and the hosts send it again",
        partial(play, RETAINED, plan_run=RetainedRun),
    ),
)
