"""The embedded log on a disk that lies: now and then a sync says OK and does nothing, and then the power goes.

No software keeps what such a disk loses, so losses are counted and are no failure. What is left must be as it was
sent, once, in order, in its topic, and the log must go on from there: what an honest disk is given afterwards is kept.
"""

from __future__ import annotations

from dataclasses import replace

from evermq.adapters.log.damage import frames_of
from evermq.adapters.log.frame import Frame
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.segment import STORED, number_of
from evermq.adapters.log.verify import inspect
from evermq.errors import Damaged, EvermqError
from evermq.message import MessageFactory
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, Faults
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_audit import read_all
from evermq.testing.worlds.log_books import Books
from evermq.testing.worlds.log_life import GROUP, TOPICS, Life, options_of

__all__ = ["WORLDS"]

_ACTIONS = 30
_LIVES = 4
_CUTS = 8  # of each life, beside the one that ends it
_LOST = "acknowledged and lost"
_KEPT = "acknowledged and kept"
_SHUT = "without any copy of the catalog"


def _run(seed: int) -> WorldResult:
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        chance = clock.random
        options = options_of(chance, chance.choice(("always", "always", "interval", "never")))
        if chance.random() < 0.5:
            options = replace(options, segment_bytes=4096, retain_bytes=0, spares_max=2)
        share, books = chance.choice((0.1, 0.3, 0.6, 1.0)), Books()
        disk = FakeDisk()
        for number in range(_LIVES):
            disk = FakeDisk(disk.image(), Faults(lying_sync=share, chance=chance))
            topics = (TOPICS[0], f"of-life-{number}")  # one that the disk may forget as a whole
            life = Life(disk, options, clock, books, name=f"life{number}-", topics=topics)
            if not await life.open():
                break  # judged below, when the power went
            await life.play(_ACTIONS)
            if chance.random() < 0.5:
                await life.catch_up()
            disk = await _cuts(disk, options, clock, books, result)
        result.failures += books.wrong
        result.histories += 1
        if not (result.seen[_LOST] and result.seen[_KEPT]):
            result.invalid.append("the disk forgot nothing, or all of it")
        result.note(disk.steps, len(books.acked), result.seen, result.failures)

    result.note(simulate(seed, main).trace_hash)
    return result


async def _cuts(
    disk: FakeDisk, options: LogOptions, clock: SimulatedClock, books: Books, result: WorldResult
) -> FakeDisk:
    """Judge what is left when the power goes at some moments of a life and at its end, or that is a kill, which leaves
    to the next life what the disk forgets later; returns what the end left."""
    last = disk.steps + 1
    for step in sorted([*clock.random.choices(range(1, last), k=_CUTS), last]):
        power = step < last or clock.random.random() < 0.8
        left = disk.power_cut(step, clock.random) if power else disk.kill(step, clock.random)
        found = await _find_wrong(FakeDisk(left.image()), options, clock, books, step - 1, result)
        how = f"{'power cut' if power else 'kill'} at step {step} of {disk.steps}"
        result.failures += [f"{how}: {each}" for each in found]
        result.crash_points += 1
    for moments in (books.acked, books.settling, books.settled):
        moments.update(dict.fromkeys(moments, -1))  # before everything that comes now
    return left


async def _find_wrong(
    disk: FakeDisk, options: LogOptions, clock: SimulatedClock, books: Books, before: int, result: WorldResult
) -> list[str]:
    wrong: list[str] = []
    try:
        if _has_catalog(disk):
            inspect(disk, "the log")
        found = await read_all(disk, options, clock, books, wrong)
        wrong += await _goes_on(disk, options, clock, books)
    except Damaged as error:
        if _has_catalog(disk):
            return [f"the log does not open: {error!r}"]
        result.seen[_SHUT] += 1
        return wrong
    except (EvermqError, OSError) as error:
        return [*wrong, f"the log does not open: {error!r}"]
    wrong += _doubled(disk)
    kept = found.stored - books.perhaps_done(before)
    wrong += [f"{id} was not settled, and its group never gets it" for id in sorted(kept - found.served)]
    wrong += [f"{id} was refused for certain and is stored" for id in sorted(books.refused & found.stored)]
    acked = {id for id, moment in books.acked.items() if moment <= before}
    result.seen[_LOST] += len(acked - found.stored - books.perhaps_done(before))
    result.seen[_KEPT] += len(acked & found.stored)
    return wrong


async def _goes_on(disk: FakeDisk, options: LogOptions, clock: SimulatedClock, books: Books) -> list[str]:
    """On a disk that lies no more, what is appended now is there when it is opened again, for the old group too."""
    make, later, wrong = MessageFactory(clock), Books(), list[str]()
    place = LogPlace(disk, options, clock=clock, threaded=False)
    for topic in (TOPICS[0], "later"):
        for key in ("a", None, "b"):
            message = make(b"later", key=key)
            later.messages[message.id] = message
            await (await place.queue(topic)).append([message])
    await place.close()
    everything = Books(messages={**books.messages, **later.messages}, topic=books.topic, number=books.number)
    found = await read_all(disk, options, clock, everything, wrong)
    wrong += [f"{id} was appended afterwards and is not stored" for id in later.messages.keys() - found.stored]
    return wrong + [
        f"{id} was appended afterwards and group {GROUP} never gets it" for id in later.messages.keys() - found.served
    ]


def _has_catalog(disk: FakeDisk) -> bool:
    """Whether a copy is intact, told without the product."""
    for name in disk.names():
        if name in ("catalog-a", "catalog-b"):
            head, _, behind = disk.open(name).pread(1 << 30, 0).partition(b"\n")
            crc, _, digits = head.partition(b" ")
            length = int(digits) if digits.isdigit() else 0
            encoded, changes = behind[:length], behind[length + 1 :]
            parts = [(crc, encoded), *(line.split(b" ", 1) for line in changes.splitlines())]
            is_ended = behind.endswith(b"\n")
            if is_ended and all(len(part) == 2 and part[0] == b"%08x" % _crc32c(part[1]) for part in parts):
                return True
    return False


def _crc32c(data: bytes) -> int:
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F6_3B78 if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF


def _doubled(disk: FakeDisk) -> list[str]:
    """Offsets that were given twice, and sequence numbers that go back, in the bytes themselves."""
    wrong: list[str] = []
    ends: dict[tuple[int, int], int] = {}
    last = 0
    for name in disk.names():
        number = number_of(name)
        for frame in frames_of(disk.open(name).pread(1 << 30, 0), number) if number is not None else ():
            if not isinstance(frame, Frame):
                continue
            if frame.sequence <= last:
                wrong.append(f"{name} has group {frame.sequence} behind group {last}")
            last = frame.sequence
            for entry in frame.entries:
                lane = (entry.topic, entry.lane)
                if entry.kind in STORED and entry.offset < ends.get(lane, 0):
                    wrong.append(f"{name} gives offset {entry.offset} of lane {lane} twice")
                if entry.kind in STORED:
                    ends[lane] = entry.offset + entry.message_count
    return wrong


WORLDS = (
    World(
        "log-lying-sync", "an embedded log on a disk whose syncs lie now and then, cut from power again and again", _run
    ),
)
