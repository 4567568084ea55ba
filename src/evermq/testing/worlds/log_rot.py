"""The embedded log on a disk that rots: bits flip, pages are zeroed, files are cut; closed, and while it is open."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from evermq.adapters.log.columns import decode
from evermq.adapters.log.damage import Damage, frames_of
from evermq.adapters.log.frame import Frame, Kind, messages_of
from evermq.adapters.log.segment import number_of
from evermq.adapters.log.verify import inspect
from evermq.errors import EvermqError
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_audit import Found, read_all, read_place
from evermq.testing.worlds.log_books import Books
from evermq.testing.worlds.log_life import Life, options_of

__all__ = ["WORLDS"]

_ACTIONS = 36
_TIMES = 24
_PAGE = 4096


class Stored(NamedTuple):
    """A frame as it was written: where, and which messages are in it."""

    name: str
    begin: int
    end: int
    sequence: int
    ids: frozenset[str]


def _closed(seed: int) -> WorldResult:
    """A log that was closed in order rots: every other group stays readable, and what is gone is told exactly."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")
        disk, books = FakeDisk(), Books()
        life = Life(disk, options, clock, books)
        await life.open()
        await life.play(_ACTIONS)
        await life.close()
        frames = _frames(disk)
        whole = await read_all(FakeDisk(disk.image()), options, clock, books, [])
        for _ in range(_TIMES):
            rotten = FakeDisk(disk.image())
            name, what, gone = _rot(rotten, clock.random)
            hit = [frame for frame in frames if frame.name == name and _touches(frame, gone)]
            wrong: list[str] = []
            try:
                offline = inspect(rotten, "the log").damages
                found = await read_all(rotten, options, clock, books, wrong)
                wrong += _misjudged(frames, hit, whole, found, offline, is_cursor=name.startswith("cursors-"))
            except EvermqError as error:
                wrong.append(f"the log does not open any more: {error!r}")
            result.failures += [f"after {what} in {name}: {each}" for each in wrong]
            result.crash_points += 1
        result.histories += 1
        result.note(disk.steps, len(books.acked), result.failures)

    result.note(simulate(seed, main).trace_hash)
    return result


def _open(seed: int) -> WorldResult:
    """A log rots while it is open: readers pass what is gone, say so, and it goes on."""
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")
        disk, books = FakeDisk(), Books()
        life = Life(disk, options, clock, books)
        await life.open()
        await life.play(_ACTIONS)
        frames = _frames(disk)
        whole = await read_all(FakeDisk(disk.image()), options, clock, books, [])
        hit = clock.random.sample(frames, min(len(frames), clock.random.randint(1, 3)))
        for frame in hit:
            disk.rot(frame.name, clock.random.randrange(frame.begin, frame.end), clock.random.randrange(8))
        assert life.place
        wrong: list[str] = []
        await life.wait_for_delayed()
        found = await read_place(life.place, books, wrong)
        await life.play(_ACTIONS // 2)
        await life.wait_for_delayed()
        later = await read_place(life.place, books, wrong, group="later")
        # What had been moved to its lane is not looked for where it waited before, until the log is opened again.
        latest = {id: frame.sequence for frame in frames for id in frame.ids}
        lost, broken = frozenset().union(*[frame.ids for frame in hit]), {frame.sequence for frame in hit}
        wrong += _each(whole.stored - lost - found.stored, "is in a group that is intact, and is not read")
        due = books.stored(disk.steps, synced_only=False) - books.perhaps_done(disk.steps) - found.served
        wrong += _each(due - lost - later.stored, "is not read later")
        told = _sequences(found.damages)
        wrong += _each(told - broken, "is a group that is intact, and the log says it is gone")
        missing = {latest[id] for id in lost & whole.stored - found.stored}
        wrong += _each(missing - told, "is a group that is gone, and the log does not say so")
        result.failures += [f"after rot in groups {sorted(broken)}: {each}" for each in wrong + books.wrong]
        result.histories += 1
        result.note(disk.steps, len(books.acked), result.failures)

    result.note(simulate(seed, main).trace_hash)
    return result


def _rot(disk: FakeDisk, chance: random.Random) -> tuple[str, str, range]:
    """Damage one file somewhere; returns its name, what was done, and the bytes that are not what they were."""
    names = [name for name in disk.names() if name.startswith("segment-")]
    name = chance.choice([*names, *names, *names, *disk.names()])
    old = disk.open(name).pread(1 << 30, 0)
    what = chance.choice(("a flipped bit", "a zeroed page", "a zeroed sector", "a cut"))
    if what == "a cut":
        new = old[: chance.randrange(len(old) + 1)]
    elif what == "a flipped bit":
        at = chance.randrange(max(1, len(old)))
        new = old[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in old[at : at + 1]) + old[at + 1 :]
    else:
        size = _PAGE if what == "a zeroed page" else 512
        at = chance.randrange(0, max(1, len(old)), size)
        new = old[:at] + bytes(len(old[at : at + size])) + old[at + size :]
    disk.damage(name, new)
    differ = [i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
    stop = len(old) if len(new) < len(old) else (differ[-1] + 1 if differ else 0)
    return name, what, range(differ[0] if differ else min(len(new), stop), stop)


def _touches(frame: Stored, gone: range) -> bool:
    return frame.begin < gone.stop and gone.start < frame.end


def _frames(disk: FakeDisk) -> list[Stored]:
    """All frames of an intact log."""
    frames = []
    for name in disk.names():
        number = number_of(name)
        if number is not None:
            for frame in frames_of(disk.open(name).pread(1 << 30, 0), number):
                assert isinstance(frame, Frame)
                end = frame.position + frame.length
                frames.append(Stored(name, frame.position, end, frame.sequence, _ids_of(frame)))
    return frames


def _ids_of(frame: Frame) -> frozenset[str]:
    entries = [entry for entry in frame.entries if entry.kind in (Kind.MESSAGES, Kind.DELAYED) and not entry.first]
    return frozenset(message.id for entry in entries for message in decode(messages_of(entry), entry.rows))


def _ids(frames: Iterable[Stored], hit: list[Stored]) -> frozenset[str]:
    """The messages that were in these frames and in no other."""
    kept = [frame.ids for frame in frames if frame not in hit]
    return frozenset().union(*[frame.ids for frame in hit]).difference(*kept)


def _misjudged(
    frames: list[Stored], hit: list[Stored], whole: Found, found: Found, offline: list[Damage], *, is_cursor: bool
) -> list[str]:
    """What is said of a rotten log, and is not so."""
    lost, broken = _ids(frames, hit), {frame.sequence for frame in hit}
    wrong = _each(whole.stored - lost - found.stored, "is in a group that is intact, and is not read")
    wrong += _each(whole.served - lost - found.served, "was not settled, and its group never gets it")
    if not is_cursor and not hit:
        wrong += _each(found.served - whole.served, "was settled and comes again")
    first = min((frame.sequence for frame in frames), default=0)
    intact = max((frame.sequence for frame in frames if frame not in hit), default=0)
    tellable = {each for each in broken if each < intact}  # a later group vouches for these
    needed = {frame.sequence for frame in hit if frame.ids & (whole.stored - found.stored)} & tellable
    for what, damages, must in (("verify", offline, tellable), ("the log", found.damages, needed)):
        told = {each for each in _sequences(damages) if each >= first}
        wrong += _each(must - told, f"is a group that is gone, and {what} does not say so")
        wrong += _each(told - broken, f"is a group that is intact, and {what} says it is gone")
    return wrong


def _each(found: Iterable[object], what: str) -> list[str]:
    return [f"{each} {what}" for each in sorted(map(str, found))]


def _sequences(damages: Iterable[Damage]) -> set[int]:
    return {number for each in damages for number in range(each.first_sequence, each.last_sequence + 1)}


WORLDS = (
    World("log-rot", "an embedded log with flipped bits, zeroed pages and cut files", _closed),
    World("log-rot-open", "an embedded log that rots while it is open", _open),
)
