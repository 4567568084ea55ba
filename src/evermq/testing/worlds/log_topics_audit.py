"""Opens what is left of a log whose topics come and go, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable

from evermq.adapters.log.damage import frames_of
from evermq.adapters.log.disk import Disk
from evermq.adapters.log.frame import Frame, Kind
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.recovery import ENDS
from evermq.adapters.log.segment import number_of
from evermq.adapters.log.verify import inspect
from evermq.errors import EvermqError
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.worlds.log_life import DELAY_MS_MAX, read_past_damage
from evermq.testing.worlds.log_topics_books import TopicBooks, TopicLife

__all__ = ["find_wrong", "left_of_dropped"]

_AUDIT = "audit"
_OFFLINE_SHARE = 0.2  # of the logs are read by `verify` as well


async def find_wrong(
    disk: Disk,
    options: LogOptions,
    clock: SimulatedClock,
    books: TopicBooks,
    before: float,
    *,
    power: bool,
    settles: bool = True,
) -> list[str]:
    """What is wrong with a log after a crash, steps up to `before` being done.

    settles: whether what was settled must not come again, which a flush that failed may have lost."""
    wrong: list[str] = []
    try:
        if disk.names() and clock.random.random() < _OFFLINE_SHARE:
            wrong += [f"verify finds a problem: {problem}" for problem in inspect(disk, "the log").problems]
        place = LogPlace(disk, options, clock=clock, threaded=False)
        wrong += books.look(place.catalog, before)
        wrong += _left_in_index(place)
        await clock.sleep(DELAY_MS_MAX * 2)
        for topic in books.live.values():
            found = await _read(place, topic, _AUDIT, wrong)
            wrong += _of(topic, topic.must_be_stored(before) - found, "was acknowledged and is not stored")
            for name, group in topic.live.items():
                served = await _read(place, topic, name, wrong)
                must = {id for id in topic.must_be_stored(before) & found if not group.passes(id, before)}
                wrong += _of(topic, must - served, f"never comes to group {name}")
                wrong += _of(topic, group.never & served, f"is behind the start of group {name}, which gets it")
                done = books.done(group, before, power=power) if settles else set()
                wrong += _of(topic, done & served, f"was settled and comes again to group {name}")
        wrong += [f"nothing can be damaged here, and yet: {damage}" for damage in place.damages]
        await place.close()
        wrong += left_of_dropped(disk, books, before)
    except (EvermqError, OSError) as error:
        wrong.append(f"the log does not open: {error!r}")
    return wrong


def left_of_dropped(disk: Disk, books: TopicBooks, before: float) -> list[str]:
    """What segments tell of topics that were dropped before they were begun."""
    wrong = []
    dropped = dict(books.dropped(before))
    for name in disk.names():
        segment = number_of(name)
        late = {number for number, at in dropped.items() if segment is not None and at < segment}
        if segment is None or not late:
            continue
        file = disk.open(name)
        for frame in frames_of(file.pread(file.size(), 0), segment):
            told = _topics_of(frame) if isinstance(frame, Frame) else set()
            wrong += [f"{name} tells of topic {number}, which was dropped before" for number in sorted(late & told)]
    return wrong


def _topics_of(frame: Frame) -> set[int]:
    told: set[int] = set()
    for entry in frame.entries:
        if entry.kind == Kind.ENDS:
            told |= {topic for topic, _, _ in ENDS.iter_unpack(entry.payload)}
        elif entry.kind != Kind.CLOSED:
            told.add(entry.topic)
    return told


def _left_in_index(place: LogPlace) -> list[str]:
    """What a log that was just opened knows of topics that are not there."""
    known = {number for number, _ in [*place.journal.state.index.lanes, *place.journal.state.index.ends]}
    return [f"the index knows topic {number}, which is not there" for number in known - place.topics_by_number.keys()]


async def _read(place: LogPlace, topic: TopicLife, group: str, wrong: list[str]) -> set[str]:
    """Everything that the group gets."""
    reader = await (await place.queue(topic.name)).reader(group)
    seen: set[str] = set()
    while found := await read_past_damage(reader, 100):
        for message in (delivery.message for delivery in found):
            wrong += topic.strange(message)
            if message.id in seen:
                wrong.append(f"{message.id} of {topic.name} came twice to group {group}")
            seen.add(message.id)
        await reader.ack(found)
    return seen


def _of(topic: TopicLife, ids: Iterable[str], what: str) -> list[str]:
    return [f"{id} of {topic.name} (topic {topic.number}) {what}" for id in sorted(ids)]
