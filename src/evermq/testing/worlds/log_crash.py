"""The embedded log, crashed at every step of a random life: by a kill, and by the loss of power."""

from __future__ import annotations

import random

from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_workload import Books, Life, find_wrong, options_of

__all__ = ["WORLDS"]

_ACTIONS = 40
_TWICE_SHARE = 0.05


def _run(seed: int, fsync: str) -> WorldResult:
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, fsync)
        disk, books = FakeDisk(), Books()
        life = Life(disk, options, clock, books)
        await life.open()
        await life.play(_ACTIONS)
        for step in range(1, disk.steps + 2):
            for power in (True, False):
                left = disk.power_cut(step, clock.random) if power else disk.kill(step, clock.random)
                result.crash_points += 1
                may_lose = power and fsync != "always"
                found = await find_wrong(left, options, clock, books, step - 1, may_lose=may_lose)
                how = "power cut" if power else "kill"
                result.failures += [f"{how} at step {step} of {disk.steps}: {each}" for each in found]
            if clock.random.random() < _TWICE_SHARE:
                again = disk.power_cut(step, clock.random)
                result.failures += await _twice(again, books, clock, random.Random(seed * 1000 + step), fsync, step)
                result.crash_points += 1
        result.histories += 1
        result.note(disk.steps, len(books.acked), result.crash_points, result.failures)

    outcome = simulate(seed, main)
    result.note(outcome.trace_hash)
    return result


async def _twice(
    disk: FakeDisk, books: Books, clock: SimulatedClock, chance: random.Random, fsync: str, step: int
) -> list[str]:
    """Live on after a crash, and crash again: what was there after the first and what came after it must be there."""
    options = options_of(chance, fsync)
    survivors = Books(dict(books.messages), dict(books.topic), dict(books.order), refused=set(books.refused))
    if fsync == "always":
        survivors.acked = {id: 0 for id, acked in books.acked.items() if acked < step}
        survivors.settling = {id: 0 for id, settling in books.settling.items() if settling < step}
    life = Life(disk, options, clock, survivors)
    await life.open()
    await life.play(10)
    second = chance.randint(1, disk.steps + 1)
    left = disk.power_cut(second, clock.random)
    found = await find_wrong(left, options, clock, survivors, second - 1, may_lose=fsync != "always")
    return [f"second power cut at step {second} after one at {step}: {each}" for each in found]


WORLDS = tuple(
    World(
        f"log-crash-{fsync}",
        f"an embedded log with fsync={fsync}, killed and cut from power at every step",
        lambda seed, fsync=fsync: _run(seed, fsync),  # type: ignore[misc]
    )
    for fsync in ("always", "interval", "never")
)
