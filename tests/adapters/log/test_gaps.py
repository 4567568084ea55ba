"""Segments that are missing whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.segment import name_of
from evermq.adapters.log.verify import inspect
from evermq.message import MessageFactory
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate
from evermq.testing.worlds.log_life import read_past_damage

Play = Callable[[SimulatedClock], Awaitable[Any]]


def place_on(disk: FakeDisk, clock: SimulatedClock) -> LogPlace:
    options = LogOptions(lanes=1, segment_bytes=4096, retain_bytes=0)
    return LogPlace(disk, options, clock=clock, threaded=False)


async def append(place: LogPlace, clock: SimulatedClock, count: int) -> None:
    make, queue = MessageFactory(clock), await place.queue("t")
    for _ in range(count):
        await queue.append([make(b"x" * 300)])


async def settle(place: LogPlace) -> int:
    reader = await (await place.queue("t")).reader("g")
    count = 0
    while found := await read_past_damage(reader, 1000):
        await reader.ack(found)
        count += len(found)
    await reader.close()
    return count


@pytest.mark.parametrize(("missing", "says"), [((2,), "segment 2 is missing"), ((2, 3), "segments 2 to 3 are missing")])
def test_segments_missing_in_between_are_damage(missing: Sequence[int], says: str) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        await append(place, clock, 60)
        groups = [each for each in place.journal.segments if each.number in missing]
        await place.close()
        for number in missing:
            disk.remove(name_of(number))
        report = inspect(disk, "the log")
        assert not report.ok
        assert says in str(report.problems)
        [damage] = report.damages
        assert (damage.segment, damage.missing) == (2, len(missing))
        assert (damage.first_sequence, damage.last_sequence) == (groups[0].first_sequence, groups[-1].last_sequence)
        place = place_on(disk, clock)
        assert place.damages == [damage]
        assert 0 < await settle(place) < 60
        place.tidy()
        await place.close()
        assert place_on(disk, clock).damages == []

    simulate(1, main)


def test_segments_that_went_by_themselves_are_no_gap_behind_one_that_was_put_aside() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        await append(place, clock, 60)
        await place.close()
        disk.damage(name_of(2), b"\0" * 4096)
        place = place_on(disk, clock)
        [damage] = place.damages
        assert not damage.missing
        await settle(place)
        place.tidy()
        await append(place, clock, 30)
        await place.close()
        assert f"damaged-{name_of(2)}" in disk.names()
        assert inspect(disk, "the log").ok
        assert place_on(disk, clock).damages == []

    simulate(1, main)


def test_segment_whose_file_cannot_be_taken_away_leaves_no_gap_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        await append(place, clock, 60)
        await settle(place)

        def once(*_: str) -> None:
            monkeypatch.undo()
            raise OSError("the disk says no")

        monkeypatch.setattr(disk, "rename", once)
        place.tidy()
        assert name_of(1) in disk.names()
        assert place_on(disk, clock).damages == []
        place.tidy()
        assert name_of(1) not in disk.names()

    simulate(1, main)
