"""The embedded log while topics are dropped and made anew by the same name, and groups are made late and reset: crashed
at every step, and on a disk that refuses for a while.

What was acknowledged to a topic that is there must be read, a topic made anew shows nothing of the one before it, and a
drop or a reset that returned holds for ever; one that was Unavailable did not happen, one that was Uncertain may have.
A group gets what comes from its start on, and nothing else.
"""

from __future__ import annotations

import errno
import random
from dataclasses import replace

from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, Faults
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_life import options_of
from evermq.testing.worlds.log_topics_audit import find_wrong, left_of_dropped
from evermq.testing.worlds.log_topics_books import TopicBooks
from evermq.testing.worlds.log_topics_life import TopicsLife

__all__ = ["WORLDS"]

_ACTIONS = 50
_AGAIN_ACTIONS = 20
_TWICE_SHARE = 0.1
_ROUNDS = 3  # of a life whose disk refuses now and then
_ROUND_ACTIONS = 40
_TROUBLE_SHARE = 0.7
_CALLS = 12  # within which one fails: those of a drop are as many, where each is tried again
_CUTS = 30
_RECYCLES_SHARE = 0.7  # of the logs let what is settled go at once


def _crashed(seed: int) -> WorldResult:
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        disk, books = FakeDisk(), TopicBooks()
        options = options_of(clock.random, "always")
        life = TopicsLife(disk, options, clock, books)
        await life.open()
        await life.play(_ACTIONS)
        books.note(disk)
        result.failures += left_of_dropped(disk, books, disk.steps)
        for step in range(1, disk.steps + 2):
            for power in (True, False):
                left = disk.power_cut(step, clock.random) if power else disk.kill(step, clock.random)
                result.crash_points += 1
                if clock.random.random() < _TWICE_SHARE:
                    found = await _again(left, books.after(step - 1, power=power), clock)
                    result.crash_points += 1
                else:
                    found = await find_wrong(left, options, clock, books, step - 1, power=power)
                how = f"{'power cut' if power else 'kill'} at step {step} of {disk.steps}"
                result.failures += [f"{how}: {each}" for each in found]
        _judge(books, result)
        result.note(disk.steps, result.crash_points, result.seen, result.failures)

    result.note(simulate(seed, main).trace_hash)
    return result


async def _again(disk: FakeDisk, books: TopicBooks, clock: SimulatedClock) -> list[str]:
    """Live on after a crash, with other options, and crash again."""
    options = options_of(clock.random, "always")
    life = TopicsLife(disk, options, clock, books, "again")
    if not await life.open():
        return ["the log does not open"]
    await life.play(_AGAIN_ACTIONS)
    books.note(disk)
    step, power = clock.random.randint(1, disk.steps + 1), clock.random.random() < 0.5
    left = disk.power_cut(step, clock.random) if power else disk.kill(step, clock.random)
    found = await find_wrong(left, options, clock, books, step - 1, power=power)
    found += books.wrong
    return [f"and a {'power cut' if power else 'kill'} at step {step} of the next life: {each}" for each in found]


def _refused(seed: int) -> WorldResult:
    """The disk fails at some call, once or from there on, or is full; then it is well again; and so on."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        disk, books, chance = FakeDisk(), TopicBooks(), clock.random
        options = options_of(chance, "always")
        if chance.random() < _RECYCLES_SHARE:
            options = replace(options, segment_bytes=4096, retain_bytes=0)
        life = TopicsLife(disk, options, clock, books)
        await life.open()
        life.before_act = lambda: _trouble(disk.faults, chance)
        for _ in range(_ROUNDS):
            await life.play(_ROUND_ACTIONS)
            disk.faults.fail_at, disk.faults.full = 0, False
            if not await life.goes_on():
                result.failures.append("nothing is made or appended once the disk is well again")
        books.note(disk)
        last = disk.steps + 1
        for step in sorted([*chance.choices(range(1, last), k=_CUTS), last]):
            power = chance.random() < 0.5
            left = disk.power_cut(step, chance) if power else disk.kill(step, chance)
            found = await find_wrong(left, options, clock, books, step - 1, power=power, settles=False)
            result.failures += [
                f"{'power cut' if power else 'kill'} at step {step} of {disk.steps}: {each}" for each in found
            ]
            result.crash_points += 1
        result.seen["calls that failed"] = disk.faults.bitten
        if not disk.faults.bitten:
            result.invalid.append("no call failed")
        _judge(books, result)
        result.note(disk.steps, result.crash_points, result.seen, result.failures)

    result.note(simulate(seed, main).trace_hash)
    return result


def _trouble(faults: Faults, chance: random.Random) -> None:
    """Mostly a call fails that belongs to the next drop, reset or late group; or that disk is well again."""
    if chance.random() < _TROUBLE_SHARE:
        faults.code, faults.for_ever = chance.choice((errno.EIO, errno.ENOSPC)), chance.random() < 0.4
        faults.fail_at, faults.full = faults.calls + chance.randint(1, _CALLS), chance.random() < 0.2
    else:
        faults.fail_at, faults.full = 0, False


def _judge(books: TopicBooks, result: WorldResult) -> None:
    result.failures += books.wrong
    result.histories += 1
    result.seen += books.seen()
    if not (result.seen["topics dropped"] and result.seen["topics made"] > result.seen["topics dropped"] > 0):
        result.invalid.append("no topic was dropped")


WORLDS = (
    World(
        "log-topics",
        "an embedded log whose topics are dropped and made anew, and its groups reset, killed and cut at every step",
        _crashed,
    ),
    World("log-topics-refused", "the same on a disk that fails or is full now and then", _refused),
)
