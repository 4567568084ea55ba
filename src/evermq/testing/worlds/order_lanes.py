"""A standby whose number of lanes changes while it is used, as lists in Redis can: the old ones are read first."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from evermq.errors import EvermqError, Misconfigured, Unavailable
from evermq.lanes import lane_of
from evermq.message import Message
from evermq.position import Position
from evermq.testing.world import World
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_plans import LANES
from evermq.testing.worlds.order_rung import Cursor, Rung

__all__ = ["WORLDS", "LanesRun", "RelanedRung"]

_COUNTS = (2, 5, 6, 12)
_CHANGES = 2
_GROUP = "billing"


class RelanedRung(Rung):
    """See `Rung`. begins: the first lane of each epoch; those of the last one are appended to."""

    def __init__(self, name: str, **said: Any) -> None:
        super().__init__(name, **said)
        self.begins = [0]
        self._in_turn = True

    async def end(self, lane: str) -> int:
        if len(self.begins) > 1:
            raise Unavailable("the lanes were changed: which of them would have a message is not known")
        return await super().end(lane)

    def read_at_once(self) -> None:
        """See `evermq.settling.Relaned`."""
        self._in_turn = False

    def relane(self, count: int) -> None:
        """Another number of lanes, from now on."""
        self._land_late()
        self.begins.append(len(self.lanes))
        self.lanes += [[] for _ in range(count)]
        self.traits = replace(self.traits, lanes=count)
        for group, cursors in self.groups.items():
            cursors += [Cursor() for _ in range(count)]
            self.rebalance(group)

    def _lane_of(self, message: Message) -> int:
        assert message.key is not None
        return self.begins[-1] + lane_of(message.key, len(self.lanes) - self.begins[-1])

    def _row_of(self, lane: str) -> int:
        names = [self._name_of(row) for row in range(len(self.lanes))]
        if lane not in names:
            raise Misconfigured(f"there is no lane {lane}")
        return names.index(lane)

    def _name_of(self, row: int) -> str:
        epoch = sum(begin <= row for begin in self.begins)
        return str(row) if epoch == 1 else f"{epoch}.{row - self.begins[epoch - 1]}"

    def _is_open(self, group: str, row: int) -> bool:
        if not self._in_turn:
            return True
        begin = max(begin for begin in self.begins if begin <= row)
        old = zip(self.groups[group][:begin], self.lanes, strict=False)
        return all(cursor.low == len(lane) for cursor, lane in old)

    def _place(
        self, lane: int, message: Message, fate: tuple[EvermqError | None, int | None]
    ) -> Position | EvermqError:
        """A lane that was closed meanwhile takes nothing."""
        is_closed = lane < self.begins[-1] and fate[0] is None
        return super()._place(lane, message, (Unavailable("the lane is closed"), None) if is_closed else fate)


class LanesRun(Run):
    """One seed: the lanes change at any time, and once while the standby is full of what nobody reads."""

    standby_type = RelanedRung

    def _troubles(self) -> list[Coroutine[Any, Any, None]]:
        return [
            *super()._troubles(),
            *(self._some_time(self._relane) for _ in range(_CHANGES)),
            self._at(sum(self.plan.unread) // 2, self._relane),
        ]

    async def _relane(self) -> None:
        standby = self.rungs["standby"]
        assert isinstance(standby, RelanedRung)
        self.record.seen["left in old lanes"] += standby.left(_GROUP)
        before = len(standby.lanes)
        standby.relane(self.clock.random.choice(_COUNTS))
        await self.clock.sleep(3_000)
        self.record.seen["sent to new lanes"] += sum(map(len, standby.lanes[before:]))


WORLDS = (World("order-lanes", "the lanes of the standby change in number", partial(play, LANES, plan_run=LanesRun)),)
