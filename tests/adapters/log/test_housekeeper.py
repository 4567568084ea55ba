"""What is done beside the hot path goes on, whatever one round of it meets."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from evermq.adapters.log.cursor_file import CursorFile
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.reader import LogReader
from evermq.adapters.log.retention import Retention
from evermq.adapters.log.segment import name_of
from evermq.message import MessageFactory
from evermq.port import Delivery
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, FakeFile
from evermq.testing.simulation.loop import simulate

MORE_SEGMENTS = 4


def fail(*_: object, **__: object) -> None:
    raise MemoryError


def place_on(disk: FakeDisk, clock: SimulatedClock, *, spares_max: int = 1) -> LogPlace:
    options = LogOptions(lanes=1, segment_bytes=4096, retain_bytes=0, spares_max=spares_max)
    return LogPlace(disk, options, clock=clock, threaded=False)


async def settle_some(place: LogPlace) -> None:
    """Several segments of messages that are read, and acknowledged."""
    queue, make = await place.queue("t"), MessageFactory(place.clock)
    reader = await queue.reader("g")
    until = MORE_SEGMENTS + (place.journal.segments[-1].number if place.journal.segments else 0)
    while not place.journal.segments or place.journal.segments[-1].number < until:
        await queue.append([make(b"x" * 300)])
        await reader.ack(await reader.read(count_max=10, wait_ms=0))
    await reader.close()


async def four_read(place: LogPlace) -> tuple[LogReader, list[Delivery]]:
    """A reader that has four messages in hand."""
    queue, make = await place.queue("t"), MessageFactory(place.clock)
    await queue.append([make(b"x") for _ in range(4)])
    reader = await queue.reader("g")
    return reader, await reader.read(count_max=4, wait_ms=0)


def test_want_of_memory_while_it_recycles_is_told_once_and_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(FakeDisk(), clock)
        await settle_some(place)
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "evermq.log"):
            patch.setattr(Retention, "next_to_go", fail)
            place.tidy()
            place.tidy()
        assert len(caplog.records) == 1
        assert len(place.journal.segments) > 1
        place.tidy()
        assert len(place.journal.segments) == 1

    simulate(1, main)


def test_nothing_is_touched_while_the_owner_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(FakeDisk(), clock)
        await settle_some(place)
        with monkeypatch.context() as patch:
            patch.setattr(LogPlace, "check_owner", fail)
            place.tidy()
        assert len(place.journal.segments) > 1
        place.check()
        place.tidy()
        assert len(place.journal.segments) == 1

    simulate(1, main)


def test_flush_that_had_no_memory_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        reader, found = await four_read(place)
        place.tidy()
        await reader.ack(found)
        with monkeypatch.context() as patch:
            patch.setattr(FakeFile, "sync", fail)
            place.tidy()
        place.tidy()
        left = disk.power_cut(disk.steps + 1, clock.random)
        assert await (await place_on(left, clock).queue("t")).backlog("g") == 0

    simulate(1, main)


async def test_thread_goes_on_after_it_had_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await LogPlace.open(tmp_path, interval_ms=1)
    failed, again = threading.Event(), threading.Event()

    def fail_once(_: CursorFile) -> None:
        if failed.is_set():
            again.set()
            return
        failed.set()
        raise MemoryError

    monkeypatch.setattr(CursorFile, "take_dirty", fail_once)
    assert await asyncio.to_thread(again.wait, 20)
    await place.close()


@pytest.mark.parametrize("spares_max", [0, 100])
def test_oldest_segment_that_somebody_removed_does_not_stop_recycling(spares_max: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, spares_max=spares_max)
        await settle_some(place)
        disk.remove(name_of(place.journal.segments[0].number))
        place.tidy()
        assert len(place.journal.segments) == 1
        await settle_some(place)
        place.tidy()
        assert len(place.journal.segments) == 1

    simulate(1, main)


@pytest.mark.parametrize("is_left", [False, True])
def test_spare_that_somebody_removed_does_not_close_the_log(is_left: bool) -> None:
    """One of this owner's, or one that an earlier owner left."""

    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, spares_max=100)
        await settle_some(place)
        place.tidy()
        spares = [name for name in disk.names() if name.startswith("spare-")]
        assert spares
        if is_left:
            await place.close()
            place = place_on(disk, clock, spares_max=100)
        for name in spares:
            disk.remove(name)
        await settle_some(place)

    simulate(1, main)


@pytest.mark.parametrize("acks", [1, 3])
def test_cursor_file_that_somebody_removed_does_not_stop_acknowledgements(acks: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        reader, found = await four_read(place)
        await reader.ack(found[:1])
        disk.remove(place.cursor_file.name or "cursors-00000001")
        for delivery in found[1 : 1 + acks]:
            place.cursor_file.doubt()  # so that it is replaced now
            await reader.ack([delivery])
        assert len([name for name in disk.names() if name.startswith("cursors-")]) == 1
        left = disk.kill(disk.steps + 1, clock.random)
        assert await (await place_on(left, clock).queue("t")).backlog("g") == 3 - acks

    simulate(1, main)
