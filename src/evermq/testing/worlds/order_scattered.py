"""A primary that hands out the messages of a lane to whichever reader asks first, as RocketMQ does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evermq.errors import Unavailable
from evermq.port import Delivery, Start
from evermq.position import Position
from evermq.testing.world import World
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_plans import PILED_UP, SCATTERED
from evermq.testing.worlds.order_rung import Rung, RungReader

__all__ = ["WORLDS", "ScatteredRun", "ScatteredRung"]

_LEASE_MS = 3_000


@dataclass(slots=True)
class _Hand:
    """What a group has not settled of what was handed out. due_ms: when others may have it."""

    due_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    attempts: Counter[tuple[int, int]] = field(default_factory=Counter)


class ScatteredRung(Rung):
    """See `Rung`. Each message has a lease of its own, and no lane an owner."""

    scatters = True

    def __init__(self, name: str, **said: Any) -> None:
        super().__init__(name, **said)
        self.hands: dict[str, _Hand] = {}

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> RungReader:
        await super().reader(group, start=start)
        reader = _Reader(self, group)
        self.readers[group][-1] = reader
        self.hands.setdefault(group, _Hand())
        return reader

    async def end(self, lane: str) -> int:
        raise Unavailable("its lanes have no ends: what was read last says nothing of what is before it")

    def rebalance(self, group: str) -> None:
        """There is nothing to deal out."""

    def ready(self, group: str, count_max: int) -> list[tuple[int, int]]:
        """What the group may have now, the lowest of each lane first."""
        now_ms, due_ms = self.clock.monotonic_ms(), self.hands[group].due_ms
        found = [
            (row, offset)
            for row, cursor in enumerate(self.groups[group])
            for offset in range(cursor.low, len(self.lanes[row]))
            if offset not in cursor.settled and self.lanes[row][offset] and due_ms.get((row, offset), 0) <= now_ms
        ]
        return found[:count_max]


class _Reader(RungReader):
    """See `Reader`. A receipt is (row, offset, attempt)."""

    _rung: ScatteredRung

    def _take(self, count_max: int) -> list[Delivery]:
        rung, hand = self._rung, self._rung.hands[self._group]
        rung._land_late()
        found = []
        for at in rung.ready(self._group, count_max):
            hand.attempts[at] += 1
            hand.due_ms[at] = rung.clock.monotonic_ms() + _LEASE_MS
            message = rung.lanes[at[0]][at[1]]
            assert message
            found.append(Delivery(message, Position(str(at[0]), at[1]), (*at, hand.attempts[at]), hand.attempts[at]))
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for row, offset, _ in self._held(deliveries):
            cursor = self._rung.groups[self._group][row]
            cursor.settled.add(offset)
            while cursor.low in cursor.settled or self._is_gone(row, cursor.low):
                cursor.settled.discard(cursor.low)
                cursor.low += 1
        await self._rung.answer()

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        for row, offset, _ in self._held(deliveries):
            self._rung.hands[self._group].due_ms[row, offset] = self._rung.clock.monotonic_ms() + delay_ms
        await self._rung.answer()

    def drop(self) -> None:
        if not self._closed:
            self._closed = True
            self._rung.readers[self._group].remove(self)

    def _held(self, deliveries: Sequence[Delivery]) -> list[tuple[int, int, int]]:
        """Of those whose lease was not another one's since."""
        attempts = self._rung.hands[self._group].attempts
        return [each.receipt for each in deliveries if attempts[each.receipt[:2]] == each.receipt[2]]


class ScatteredRun(Run):
    """One seed: lanes must not go to and fro between the readers."""

    primary_type = ScatteredRung


_play = partial(partial, play, plan_run=ScatteredRun)
WORLDS = (
    World("order-scattered", "the primary hands a lane to whoever asks", _play(SCATTERED)),
    World("order-piled-up", "and has more of it than its readers keep up with", _play(PILED_UP)),
)
