"""Consumer: what was handled and cannot be acknowledged stays within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.apart import apart
from evermq.client import Consumer
from evermq.clock import Clock
from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery, Start
from evermq.position import Position
from evermq.testing.simulation.loop import simulate

make = MessageFactory()


def delivery(rung: str, offset: int) -> Delivery:
    position = Position("0", offset, (rung,))
    return Delivery(make(b"x" * 1_000), position, position, 1)


class Rungs:
    """See `Queue` and `Reader`: one has given something and takes no acknowledgement any more, the others give on and
    on, `count` messages in all."""

    name = "t"
    traits = MemoryQueue("t").traits

    def __init__(self, count: int, *away: str) -> None:
        self.count = count
        self.away = away
        self.given = 0
        self.asked: list[int] = []

    async def append(self, messages: object) -> list[Position]:
        return []

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Rungs:
        return self

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return self.count - self.given

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        if self.given == self.count:
            await asyncio.Event().wait()
        stop = min(self.given + count_max, self.count)
        found = [delivery("primary" if offset < 3 else "standby", offset) for offset in range(self.given, stop)]
        self.given = stop
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.asked.append(len(deliveries))
        await asyncio.sleep(0)
        if any(each.position.via[0] in self.away for each in deliveries):
            raise Unavailable("away")

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None: ...

    async def close(self) -> None: ...


async def ignore(delivery: Delivery) -> None: ...


def pass_over(error: BaseException) -> None: ...


async def test_what_one_rung_refuses_keeps_back_nothing_of_the_others() -> None:
    rungs, some = Rungs(0, "primary"), [delivery("standby", 1), delivery("primary", 2), delivery("standby", 3)]
    left, error = await apart(rungs.ack, some)
    assert (left, type(error)) == (some[1:2], Unavailable)
    rungs.away = ()
    assert await apart(rungs.ack, some) == ([], None)


def test_consumer_owes_no_more_than_came_of_the_rung_that_is_away() -> None:
    """All that the other one gave would be acknowledged with each try, and kept in memory."""
    rungs = Rungs(2_000, "primary")

    async def main(clock: Clock) -> None:
        async with Consumer(rungs, "g", ignore, batch_count_max=100, on_error=pass_over, clock=clock) as consumer:
            while consumer.progress.handled < rungs.count:
                await clock.sleep(10)
            await clock.sleep(2_000)

    simulate(1, main)
    assert rungs.asked[-1] == 3


@pytest.mark.parametrize("is_back", [False, True])
def test_consumer_reads_no_further_where_nothing_can_be_acknowledged(is_back: bool) -> None:
    rungs = Rungs(3_000, "primary", "standby")
    held = []

    async def main(clock: Clock) -> None:
        async with Consumer(rungs, "g", ignore, batch_count_max=10, on_error=pass_over, clock=clock) as consumer:
            await clock.sleep(60_000)
            held.append(consumer.progress.handled)
            if is_back:
                rungs.away = ()
                await clock.sleep(60_000)
                held.append(consumer.progress.handled)

    simulate(1, main)
    assert 200 <= held[0] < 300
    assert held[1:] == ([rungs.count] if is_back else [])
