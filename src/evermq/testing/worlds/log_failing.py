"""The embedded log on a disk that refuses: every single call of a small life fails, once or for ever, or it is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from evermq.adapters.log.system_disk import SystemDisk
from evermq.errors import EvermqError
from evermq.message import MessageFactory
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, Faults
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_audit import find_wrong
from evermq.testing.worlds.log_books import Books
from evermq.testing.worlds.log_life import Life, options_of

__all__ = ["WORLDS"]

_ACTIONS = 14
_TRIES_MAX = 5
_FULL_APPENDS_MAX = 300


def _every_call(seed: int, code: int) -> WorldResult:
    """The same life again and again, and each time another call fails."""
    result = WorldResult()
    faults = Faults(code=code)
    healthy = simulate(seed, lambda clock: _live(clock, faults, result))
    result.note(healthy.trace_hash)
    for call in range(1, healthy.result + 1):
        for for_ever in (False, True):
            faults = Faults(fail_at=call, code=code, for_ever=for_ever)
            outcome = simulate(seed, lambda clock, faults=faults: _live(clock, faults, result))  # type: ignore[misc]
            result.note(outcome.trace_hash)
            result.histories += 1
            if not faults.bitten:
                result.failures.append(f"call {call} was to fail and never came")
    return result


async def _live(clock: SimulatedClock, faults: Faults, result: WorldResult) -> int:
    """Live, be healed, go on; returns how many calls there were before that."""
    options = options_of(clock.random, "always")
    disk, books = FakeDisk(faults=faults), Books()
    life = Life(disk, options, clock, books)
    what = f"{errno.errorcode[faults.code]} at call {faults.fail_at} {'and ever after' if faults.for_ever else ''}"
    if await life.open():
        await life.play(_ACTIONS)
    broken, calls = disk.steps, faults.calls
    faults.fail_at = 0
    wrong = [] if await _goes_on(life, clock) else ["nothing is appended once the disk is well again"]
    books.note(disk)
    for step, power in ((broken + 1, True), (broken + 1, False), (disk.steps + 1, True), (disk.steps + 1, False)):
        left = disk.power_cut(step, clock.random) if power else disk.kill(step, clock.random)
        wrong += await find_wrong(left, options, clock, books, step - 1, power=power)
        result.crash_points += 1
    result.failures += [f"after {what}: {each}" for each in wrong]
    result.note(disk.steps, len(books.acked))
    return calls


async def _goes_on(life: Life, clock: SimulatedClock) -> bool:
    """Whether a message is taken, the directory being opened again where the log says so."""
    for _ in range(_TRIES_MAX):
        if life.place is None or life.place.journal.failure:
            await life.open()
        if await _is_taken(life, clock):
            return True
    return False


async def _is_taken(life: Life, clock: SimulatedClock) -> bool:
    if life.place is None:
        return False
    message = MessageFactory(clock)(b"once more")
    life.books.messages[message.id] = message
    try:
        await (await life.place.queue("orders")).append([message])
    except EvermqError:
        return False
    life.books.acked[message.id] = life.moment
    return True


def _full(seed: int) -> WorldResult:
    """The disk is full for a while: appends are refused for certain, nothing is lost, and later it goes on."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")
        disk, books = FakeDisk(), Books()
        life = Life(disk, options, clock, books)
        await life.open()
        await life.play(_ACTIONS)
        disk.faults.full = True
        await life.play(_ACTIONS)
        for _ in range(_FULL_APPENDS_MAX):
            if not await _is_taken(life, clock):
                break
        wrong = [] if disk.faults.bitten else ["the disk was full, and nobody met it"]
        disk.faults.full = False
        if not await _is_taken(life, clock):
            wrong.append("nothing is appended once there is room again")
        await life.play(_ACTIONS)
        books.note(disk)
        for power in (True, False):
            left = disk.power_cut(disk.steps + 1, clock.random) if power else disk.kill(disk.steps + 1, clock.random)
            wrong += await find_wrong(left, options, clock, books, disk.steps, power=power)
            result.crash_points += 1
        result.failures += [f"after a full disk: {each}" for each in wrong]
        result.histories += 1
        result.note(disk.steps, disk.faults.bitten, len(books.acked))

    result.note(simulate(seed, main).trace_hash)
    return result


def _short(seed: int) -> WorldResult:
    """A real directory, whose write calls take only a part of what they are given, as the system is free to."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")

        def write(fd: int, parts: Sequence[bytes], offset: int, flags: int = 0) -> int:
            whole = b"".join(parts)
            some = clock.random.randint(1, len(whole)) if clock.random.random() < 0.3 and whole else len(whole)
            return os.pwrite(fd, whole[:some], offset)

        with TemporaryDirectory(prefix="evermq-") as directory, patch.object(os, "pwritev", write):
            books = Books()
            life = Life(SystemDisk(Path(directory)), options, clock, books)
            await life.open()
            await life.play(_ACTIONS * 2)
            found = await find_wrong(SystemDisk(Path(directory)), options, clock, books, 0, power=False)
        result.failures += [f"after short writes: {each}" for each in found]
        result.histories += 1
        result.crash_points += 1
        result.note(len(books.acked), found)

    result.note(simulate(seed, main).trace_hash)
    return result


WORLDS = (
    World(
        "log-io-error",
        "an embedded log of which every single call to the disk fails, once and for ever",
        lambda seed: _every_call(seed, errno.EIO),
    ),
    World(
        "log-no-space",
        "an embedded log of which every single call that needs room finds none, once and for ever",
        lambda seed: _every_call(seed, errno.ENOSPC),
    ),
    World("log-short-writes", "an embedded log in a directory whose writes come out short", _short),
    World("log-disk-full", "an embedded log whose disk is full for a while", _full),
)
