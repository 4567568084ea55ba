"""The embedded log, crashed at every step of a random life: by a kill, and by the loss of power."""

from __future__ import annotations

from dataclasses import replace

from evermq.adapters.log.options import LogOptions
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_audit import find_wrong, read_place
from evermq.testing.worlds.log_books import Books
from evermq.testing.worlds.log_life import TOPICS, Life, options_of

__all__ = ["WORLDS"]

_ACTIONS = 36
_ROUNDS = 3  # of a life whose segments are used again: a part of the actions, then everything is settled
_TWICE_SHARE = 0.08


def _run(seed: int, fsync: str, *, recycles: bool = False) -> WorldResult:
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = _options(clock, fsync, recycles=recycles)
        disk, books = FakeDisk(), Books()
        life = Life(disk, options, clock, books, topics=TOPICS[:1] if recycles else TOPICS)
        await life.open()
        await _play(life, disk, result, recycles=recycles)
        books.note(disk)
        for step in range(1, disk.steps + 2):
            for power in (True, False):
                left = disk.power_cut(step, clock.random) if power else disk.kill(step, clock.random)
                result.crash_points += 1
                how = f"{'power cut' if power else 'kill'} at step {step} of {disk.steps}"
                if clock.random.random() < _TWICE_SHARE:
                    after = books.after(step - 1, power=power, always=fsync == "always")
                    next_options = _options(clock, fsync, recycles=recycles)
                    found = await _again(left, after, clock, next_options, had_holes=power and fsync != "always")
                    result.crash_points += 1
                else:
                    found = await find_wrong(left, options, clock, books, step - 1, power=power)
                result.failures += [f"{how}: {each}" for each in found]
        result.failures += [f"without any crash: {each}" for each in await _live(life, books, disk)]
        result.histories += 1
        result.note(disk.steps, len(books.acked), result.crash_points, result.failures)

    outcome = simulate(seed, main)
    result.note(outcome.trace_hash)
    return result


def _options(clock: SimulatedClock, fsync: str, *, recycles: bool) -> LogOptions:
    options = options_of(clock.random, fsync)
    return replace(options, lanes=1, segment_bytes=4096, retain_bytes=0, spares_max=2) if recycles else options


async def _play(life: Life, disk: FakeDisk, result: WorldResult, *, recycles: bool) -> None:
    """Segments are only used again in a life in which groups catch up now and then."""
    for _ in range(_ROUNDS if recycles else 1):
        await life.play(_ACTIONS)
        if recycles:
            await life.catch_up()
    if recycles:
        result.seen["segments used again"] = disk.renamed("spare-segment-", "segment-")
        if not result.seen["segments used again"]:
            result.invalid.append("no segment was used again")


async def _live(life: Life, books: Books, disk: FakeDisk) -> list[str]:
    """What is wrong with the log as it runs, read by those who have read in it before."""
    if life.place is None:
        return ["the log is not open"]
    wrong: list[str] = []
    await life.wait_for_delayed()
    found = await read_place(life.place, books, wrong)
    missing = books.stored(disk.steps, synced_only=False) - books.perhaps_done(disk.steps)
    return wrong + [f"{id} is not served" for id in sorted(missing - found.served)]


async def _again(
    disk: FakeDisk, books: Books, clock: SimulatedClock, options: LogOptions, *, had_holes: bool
) -> list[str]:
    """Live on after a crash, and crash again: what was there after the first and what came after it must be there."""
    life = Life(disk, options, clock, books, "again")
    if not await life.open():
        return ["the log does not open"]
    await life.play(12)
    books.note(disk)
    step = clock.random.randint(1, disk.steps + 1)
    power = clock.random.random() < 0.5
    left = disk.power_cut(step, clock.random) if power else disk.kill(step, clock.random)
    found = await find_wrong(left, options, clock, books, step - 1, power=power, had_holes=had_holes)
    return [f"and a {'power cut' if power else 'kill'} at step {step} of the next life: {each}" for each in found]


WORLDS = (
    World(
        "log-crash-recycle",
        "a small embedded log whose segments are used again and again, killed and cut from power at every step",
        lambda seed: _run(seed, "always", recycles=True),
    ),
    *(
        World(
            f"log-crash-{fsync}",
            f"an embedded log with fsync={fsync}, killed and cut from power at every step",
            lambda seed, fsync=fsync: _run(seed, fsync),  # type: ignore[misc]
        )
        for fsync in ("always", "interval", "never")
    ),
)
