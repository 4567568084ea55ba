"""The embedded log on a disk that fails: errors once and for ever, flushes that lie about it, no room, bit rot."""

from __future__ import annotations

from evermq.errors import EvermqError
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, Faults
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_workload import Books, Life, find_wrong, options_of

__all__ = ["WORLDS"]

_ACTIONS = 40


def _eio(seed: int) -> WorldResult:
    """A write or flush fails; what was acknowledged before and after is on the device all the same."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")
        chance = clock.random
        faults = Faults(eio_for_ever=chance.random() < 0.3)
        disk, books = FakeDisk(faults=faults), Books()
        life = Life(disk, options, clock, books)
        await life.open()
        if chance.random() < 0.5:
            faults.eio_writes.add(faults.writes + chance.randint(1, 50))
        else:
            faults.eio_syncs.add(faults.syncs + chance.randint(1, 30))
        await life.play(_ACTIONS)
        faults.eio_for_ever = False
        faults.eio_writes.clear()
        faults.eio_syncs.clear()
        left = disk.power_cut(disk.steps + 1, chance)
        found = await find_wrong(left, options, clock, books, disk.steps, may_lose=False)
        result.failures += [f"after an I/O error ({faults.bitten} bitten): {each}" for each in found]
        result.histories += 1
        result.crash_points += 1
        result.note(disk.steps, faults.bitten, len(books.acked), found)

    result.note(simulate(seed, main).trace_hash)
    return result


def _full(seed: int) -> WorldResult:
    """The disk is full for a while: appends are refused for certain, nothing is lost, and later it goes on."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")
        disk, books = FakeDisk(), Books()
        life = Life(disk, options, clock, books)
        await life.open()
        for full in (False, True, False):
            disk.faults.full = full
            await life.play(_ACTIONS // 2)
        acknowledged = len(books.acked)
        await life.play(10)
        if len(books.acked) == acknowledged and not books.refused:
            result.failures.append("nothing was appended once there was room again")
        left = disk.power_cut(disk.steps + 1, clock.random)
        found = await find_wrong(left, options, clock, books, disk.steps, may_lose=False)
        result.failures += [f"after a full disk: {each}" for each in found]
        result.histories += 1
        result.crash_points += 1
        result.note(disk.steps, disk.faults.bitten, len(books.acked), found)

    result.note(simulate(seed, main).trace_hash)
    return result


def _rot(seed: int) -> WorldResult:
    """A bit flips: at most the group it hit is gone, nothing else, and nothing false appears."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")
        disk, books = FakeDisk(), Books()
        life = Life(disk, options, clock, books)
        await life.open()
        await life.play(_ACTIONS)
        assert life.place
        await life.place.close()
        for _ in range(20):
            rotten = FakeDisk(disk.image())
            segments = [name for name in rotten.names() if name.startswith("segment-")]
            name = clock.random.choice(segments)
            rotten.rot(name, clock.random.randrange(options.segment_bytes), clock.random.randrange(8))
            result.crash_points += 1
            try:
                found = await find_wrong(rotten, options, clock, books, disk.steps, may_lose=True)
            except EvermqError as error:
                found = [f"the log does not open any more: {error}"]
            result.failures += [f"after a flipped bit in {name}: {each}" for each in found]
        result.histories += 1
        result.note(disk.steps, len(books.acked), result.failures)

    result.note(simulate(seed, main).trace_hash)
    return result


WORLDS = (
    World("log-io-error", "an embedded log whose disk fails a write or a flush, once or for ever", _eio),
    World("log-disk-full", "an embedded log whose disk is full for a while", _full),
    World("log-bit-rot", "an embedded log with a flipped bit", _rot),
)
