"""Opens what is left of a log with the real code, reads everything, and says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from evermq.adapters.log.damage import Damage
from evermq.adapters.log.disk import Disk
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.verify import inspect
from evermq.errors import EvermqError
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.worlds.log_books import Books
from evermq.testing.worlds.log_life import DELAY_MS_MAX, GROUP, read_past_damage

__all__ = ["Found", "find_wrong", "read_all", "read_place"]

_OFFLINE_SHARE = 0.2  # of the logs are read by `verify` as well


class Found(NamedTuple):
    """What a log holds. stored: all of it; served: what the group still gets. damages: what the log says is gone."""

    stored: set[str]
    served: set[str]
    damages: list[Damage]


async def read_all(disk: Disk, options: LogOptions, clock: SimulatedClock, books: Books, wrong: list[str]) -> Found:
    """Read a log to its end, in a new group and in the old one; what is wrong in itself goes to `wrong`."""
    place = LogPlace(disk, options, clock=clock, threaded=False)
    await clock.sleep(DELAY_MS_MAX * 2)
    found = await read_place(place, books, wrong)
    await place.close()
    return found


async def read_place(place: LogPlace, books: Books, wrong: list[str], group: str = "audit") -> Found:
    """The same of a log that is open already; `group` is new."""
    stored: set[str] = set()
    served: set[str] = set()
    for name in await place.topics():
        queue = await place.queue(name)
        stored |= await _read_queue(queue, group, books, wrong)
        served |= await _read_queue(queue, GROUP, books, wrong)
    return Found(stored, served, place.damages)


async def find_wrong(
    disk: Disk,
    options: LogOptions,
    clock: SimulatedClock,
    books: Books,
    before: int,
    *,
    power: bool,
    had_holes: bool = False,
) -> list[str]:
    """What is wrong with a log after a crash.

    before: operations up to this one were done. power: the power went, so only what was flushed must be there.
    had_holes: an earlier power cut may have left some.
    """
    synced_only = power and options.fsync != "always"
    wrong = list(books.wrong)
    try:
        offline = disk.names() and clock.random.random() < _OFFLINE_SHARE
        problems = inspect(disk, "the log").problems if offline else []
        found = await read_all(disk, options, clock, books, wrong)
    except (EvermqError, OSError) as error:
        return [f"the log does not open: {error!r}"]
    must = books.stored(before, synced_only=synced_only)
    missing = must - books.perhaps_done(before)
    wrong += _sentences(missing - found.stored, "was acknowledged and is not stored")
    wrong += _sentences(missing & found.stored - found.served, "was not settled, and its group never gets it")
    wrong += _sentences(books.refused & found.stored, "was refused for certain and is stored")
    done = books.done(before, synced_only=power)
    if synced_only or had_holes:
        done -= books.delayed()  # the move to its lane was not flushed: it waits again, and comes again
    wrong += _sentences(done & found.served, "was settled and comes again")
    if not synced_only and not had_holes:
        wrong += [f"nothing can be damaged here, and yet: {damage}" for damage in found.damages]
    wrong += [f"nothing rotted here, and yet: {damage}" for damage in found.damages if damage.synced]
    wrong += [f"verify finds a problem where none is: {problem}" for problem in problems]
    return wrong


async def _read_queue(queue: LogQueue, group: str, books: Books, wrong: list[str]) -> set[str]:
    reader = await queue.reader(group)
    seen: set[str] = set()
    last: dict[tuple[str, bytes], int] = {}
    ends: dict[str, int] = {}
    while found := await read_past_damage(reader, 100):
        for message, position in [(each.message, each.position) for each in found]:
            offset = position.offset or 0
            if group != GROUP and offset < ends.get(position.lane, 0):  # to GROUP some come again first
                wrong.append(f"{message.id} came with offset {offset}, which is behind others of its lane")
            ends[position.lane] = offset + 1
            sent = books.messages.get(message.id)
            if sent is None or (message.body, message.key) != (sent.body, sent.key):
                wrong.append(f"{message.id} was never sent so (phantom)")
                continue
            if books.topic.get(message.id, queue.name) != queue.name:
                wrong.append(f"{message.id} was sent to {books.topic[message.id]} and came from {queue.name}")
            if message.id in seen:
                wrong.append(f"{message.id} came twice to group {group}")
            seen.add(message.id)
            if message.key and not message.headers and message.id in books.number:
                producer, number = books.number[message.id]
                stream = (producer, message.key)
                if number < last.get(stream, -1):
                    wrong.append(f"{message.id} came behind a later message of its key to group {group}")
                last[stream] = max(number, last.get(stream, -1))
        await reader.ack(found)
    return seen


def _sentences(ids: Iterable[str], what: str) -> list[str]:
    return [f"{id} {what}" for id in sorted(ids)]
