"""The return leaves room for live traffic: what piled up below the primary is read no faster than was asked for."""

from __future__ import annotations

import asyncio

import pytest

from evermq import MessageFactory
from evermq.adapters.memory import MemoryQueue
from evermq.errors import Misconfigured
from evermq.ha.failover import Failover
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import simulate

make = MessageFactory()
BACKLOG = 300
PER_S_MAX = 100


async def _drained_ms(clock: SimulatedClock, *, is_live: bool, per_s_max: int | None) -> int:
    """How long it takes to read what the standby holds, while the primary has a message every 100 ms or has none."""
    primary, standby = MemoryQueue("t", clock=clock), MemoryQueue("t", clock=clock)
    queue = Failover(primary=primary, standby=standby, drain_per_s_max=per_s_max, clock=clock)
    readers = [await queue.reader("g") for _ in range(2)]
    if is_live:
        await primary.append([make("live")])
        await readers[0].ack(await readers[0].read(count_max=10, wait_ms=1_000))
    await standby.append([make("old") for _ in range(BACKLOG)])
    live = asyncio.create_task(_send(primary, clock)) if is_live else None
    begin_ms, left = clock.monotonic_ms(), BACKLOG

    async def read(number: int) -> None:
        nonlocal left
        while left > 0:
            found = await readers[number].read(count_max=500, wait_ms=200)
            left -= sum(delivery.message.body == b"old" for delivery in found)
            await readers[number].ack(found)

    await asyncio.gather(read(0), read(1))
    took_ms = clock.monotonic_ms() - begin_ms
    if live:
        live.cancel()
        await asyncio.gather(live, return_exceptions=True)
    await queue.close()
    return took_ms


async def _send(primary: MemoryQueue, clock: SimulatedClock) -> None:
    while True:
        await primary.append([make("live")])
        await clock.sleep(100)


@pytest.mark.parametrize(
    ("is_live", "per_s_max", "least_ms", "most_ms"),
    [(True, PER_S_MAX, 2_500, 3_500), (True, None, 0, 400), (False, PER_S_MAX, 0, 400)],
)
def test_backlog_is_read_at_its_pace_while_the_primary_has_traffic(
    is_live: bool, per_s_max: int | None, least_ms: int, most_ms: int
) -> None:
    took_ms = simulate(1, lambda clock: _drained_ms(clock, is_live=is_live, per_s_max=per_s_max)).result
    assert least_ms <= took_ms <= most_ms  # of the simulated clock


def test_pace_of_nothing_is_refused() -> None:
    with pytest.raises(Misconfigured, match="drain_per_s_max = 0"):
        Failover(primary=MemoryQueue("t"), standby=MemoryQueue("t"), drain_per_s_max=0)
