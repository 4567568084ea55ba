"""The simulated loop: virtual time, and the seed decides."""

import asyncio

import pytest

from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.loop import Deadlock, simulate


async def race(clock: SimulatedClock) -> list[int]:
    order: list[int] = []

    async def runner(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        order.append(number)

    await asyncio.gather(*(runner(i) for i in range(6)))
    return order


def test_same_seed_gives_the_same_schedule() -> None:
    assert simulate(5, race) == simulate(5, race)


def test_other_seeds_give_other_schedules() -> None:
    assert len({tuple(simulate(seed, race).result) for seed in range(20)}) > 5
    assert len({simulate(seed, race).trace_hash for seed in range(20)}) > 5


def test_sleeping_moves_the_clock_and_takes_no_time() -> None:
    async def main(clock: SimulatedClock) -> int:
        await clock.sleep(3_600_000)
        return clock.monotonic_ms()

    assert simulate(1, main).virtual_ms == 3_600_000


def test_waiting_for_nothing_is_a_deadlock() -> None:
    async def main(clock: SimulatedClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        simulate(1, main)


def test_going_on_for_ever_is_a_deadlock_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evermq.testing.simulation.loop._TURNS_MAX", 1_000)

    async def main(clock: SimulatedClock) -> None:
        while True:
            await clock.sleep(1)

    with pytest.raises(Deadlock, match="no end after 1,000 turns"):
        simulate(1, main)


def test_threads_are_refused() -> None:
    async def main(clock: SimulatedClock) -> None:
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="no threads"):
        simulate(1, main)


def test_trace_tells_which_callback_ran() -> None:
    async def first(clock: SimulatedClock) -> None:
        await asyncio.sleep(0)

    async def second(clock: SimulatedClock) -> None:
        await asyncio.sleep(0)

    assert simulate(1, first).trace_hash != simulate(1, second).trace_hash
    assert simulate(1, first).trace_hash == simulate(1, first).trace_hash


def test_timers_of_one_moment_come_in_an_order_of_the_seed() -> None:
    async def main(clock: SimulatedClock) -> list[int]:
        order: list[int] = []
        for number in range(5):
            asyncio.get_running_loop().call_later(1, order.append, number)
        await clock.sleep(1001)
        return order

    assert len({tuple(simulate(seed, main).result) for seed in range(20)}) > 5
