"""What the worlds found wrong in the embedded log, one by one."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.reader import LogReader
from evermq.adapters.log.segment import HEADER_BYTES, write_header
from evermq.adapters.log.verify import inspect
from evermq.errors import EvermqError, Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, Faults
from evermq.testing.simulation.loop import simulate

Play = Callable[[SimulatedClock], Awaitable[Any]]


def place_on(disk: FakeDisk, clock: SimulatedClock, **options: Any) -> LogPlace:
    chosen = LogOptions(lanes=1, segment_bytes=4096, **options)
    return LogPlace(disk, chosen, clock=clock, threaded=False)


async def append(place: LogPlace, clock: SimulatedClock, count: int, topic: str = "t", **more: Any) -> list[str]:
    made = [MessageFactory(clock)(b"x" * 300, **more) for _ in range(count)]
    for message in made:
        await (await place.queue(topic)).append([message])
    return [message.id for message in made]


async def ids_of(place: LogPlace, topic: str = "t", group: str = "g") -> list[str]:
    return [delivery.message.id for delivery in await drain(await (await place.queue(topic)).reader(group))]


async def drain(reader: LogReader) -> list[Delivery]:
    found: list[Delivery] = []
    while more := await reader.read(count_max=1000, wait_ms=0):
        found += more
    return found


def after_power_cuts(disk: FakeDisk) -> list[FakeDisk]:
    return [disk.power_cut(disk.steps + 1, random.Random(seed)) for seed in range(30)]


@pytest.mark.parametrize("fsync", ["interval", "never"])
def test_log_closed_in_order_survives_the_loss_of_power(fsync: str) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, fsync=fsync)
        sent = await append(place, clock, 5)
        await place.close()
        for left in after_power_cuts(disk):
            assert await ids_of(place_on(left, clock)) == sent

    simulate(1, main)


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
def test_what_a_killed_owner_left_in_the_cache_is_flushed_before_it_is_served(fsync: str) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        sent = await append(place_on(disk, clock, fsync=fsync), clock, 5)
        disk = disk.kill(disk.steps + 1, clock.random)
        place = place_on(disk, clock, fsync=fsync)
        for left in after_power_cuts(disk):
            again = place_on(left, clock)
            assert await ids_of(again) == sent
            assert not again.damages
        await place.close()

    simulate(1, main)


def test_footer_does_not_outlive_the_frames_it_tells_of() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, fsync="never")
        while len(place.journal.segments) < 3:
            await append(place, clock, 1)
        for step in range(1, disk.steps + 1):
            left = disk.power_cut(step, clock.random)
            assert not left.names() or not [p for p in inspect(left, "log").problems if "footer" in p or "rot" in p]

    for seed in range(10):
        simulate(seed, main)


@pytest.mark.parametrize("fails", range(1, 13))
def test_topic_that_could_not_be_made_is_made_once_when_it_can(fails: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        disk.faults = Faults(fail_at=fails, code=errno.ENOSPC)
        sent: list[str] = []
        while not sent:
            try:
                sent = await append(place, clock, 1)
            except EvermqError:
                if place.journal.failure:
                    place = place_on(disk, clock)
        await place.close()
        again = place_on(disk, clock)
        assert await again.topics() == ["t"]
        assert sent[-1] in await ids_of(again)

    simulate(1, main)


def test_topic_that_could_not_be_dropped_is_still_there() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        sent = await append(place, clock, 1)
        disk.faults = Faults(fail_at=1, for_ever=True)
        with pytest.raises(Unavailable):
            await place.drop("t")
        disk.faults = Faults()
        assert await ids_of(place) == sent

    simulate(1, main)


async def test_owner_whose_last_flush_fails_lets_the_next_one_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await LogPlace.open(tmp_path)
    await (await place.queue("t")).reader("g")
    place.record([])
    file = place.cursor_file._file

    def fail(file: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    assert file
    monkeypatch.setattr(type(file), "sync", fail)
    with pytest.raises(Unavailable, match="may come again"):
        await place.close()
    monkeypatch.undo()
    await (await LogPlace.open(tmp_path)).close()


def test_reader_that_is_cancelled_does_not_take_along_what_it_moves() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        queue = await place.queue("t")
        sent = await append(place, clock, 3, delay_ms=50)
        await clock.sleep(60)
        reader = await queue.reader("g")
        while place.journal.segments[-1].room > 900:
            await append(place, clock, 1, topic="other")
        disk.faults.full = True
        task = asyncio.ensure_future(reader.read(count_max=9, wait_ms=0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.01)
        disk.faults.full = False
        assert await queue.backlog("g") == 3
        found = await drain(reader)
        assert [delivery.message.id for delivery in found] == sent

    for seed in range(10):
        simulate(seed, main)


def test_segment_that_was_never_begun_is_no_problem() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        while len(place.journal.segments) < 2:
            await append(place, clock, 1)
        for step in range(1, disk.steps + 1):
            left = disk.kill(step, clock.random)
            assert not left.names() or inspect(left, "log").ok

    simulate(1, main)


def test_groups_missing_at_the_end_of_a_segment_are_told_exactly() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        while len(place.journal.segments) < 3:
            await append(place, clock, 1)
        await place.close()
        first = place.journal.segments[0]
        name = next(name for name in disk.names() if name.startswith("segment-"))
        whole = disk.open(name).pread(first.size, 0)
        disk.damage(name, whole[: first.used - 10])
        again = place_on(disk, clock)
        [damage] = again.damages
        assert (damage.segment, damage.last_sequence, damage.synced) == (1, first.last_sequence, True)
        assert damage.first_sequence == first.last_sequence
        assert str(damage) in inspect(disk, "log").problems
        disk.damage(name, bytes(HEADER_BYTES))
        [damage] = place_on(disk, clock).damages
        assert (damage.segment, damage.position, damage.last_sequence) == (1, 0, first.last_sequence)
        assert str(damage) in inspect(disk, "log").problems

    simulate(1, main)


def test_reader_whose_last_segment_was_recycled_misses_nothing_of_the_next() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, retain_bytes=0)
        reader = await (await place.queue("t")).reader("g")
        sent: list[str] = []
        got: list[str] = []
        for _ in range(12):
            sent += await append(place, clock, 9)
            if len(sent) % 2:
                found = await drain(reader)
                got += [delivery.message.id for delivery in found]
                await reader.ack(found)
            place.tidy()
        got += [delivery.message.id for delivery in await drain(reader)]
        assert got == sent

    simulate(1, main)


@pytest.mark.parametrize("power", [False, True])
def test_segment_that_a_killed_owner_had_just_begun_is_durable_before_it_is_used(power: bool) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        while len(place.journal.segments) < 2:
            await append(place, clock, 1)
        for step in range(1, disk.steps + 1):
            left = disk.kill(step, clock.random)
            again = place_on(left, clock)
            sent = await append(again, clock, 2)
            for cut in after_power_cuts(left) if power else [left.kill(left.steps + 1, clock.random)]:
                assert (await ids_of(place_on(cut, clock)))[-2:] == sent

    simulate(1, main)


def test_interval_is_flushed_while_somebody_appends() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, fsync="interval")
        sent = await append(place, clock, 3)
        [topic] = place.topics_by_number.values()
        batch = place.committer.batch(topic.lanes, [MessageFactory(clock)(b"last")])
        place.committer.join(batch)
        assert not place.committer.quiet()
        place.tidy()
        for left in after_power_cuts(disk):
            assert (await ids_of(place_on(left, clock)))[:3] == sent

    simulate(1, main)


def test_reader_that_is_closed_after_its_log_leaves_the_next_owner_alone() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        first = place_on(disk, clock)
        sent = await append(first, clock, 3)
        late = await (await first.queue("t")).reader("g")
        await late.read(count_max=1, wait_ms=0)
        await first.close()
        second = place_on(disk, clock)
        reader = await (await second.queue("t")).reader("g")
        await reader.ack(await reader.read(count_max=2, wait_ms=0))
        await late.close()
        await second.close()
        assert await ids_of(place_on(disk, clock)) == sent[2:]

    simulate(1, main)


async def append_and_settle(place: LogPlace, clock: SimulatedClock, count: int) -> None:
    await append(place, clock, count)
    reader = await (await place.queue("t")).reader("g")
    await reader.ack(await drain(reader))


def test_delayed_message_that_was_handled_does_not_come_back_with_a_recycled_segment() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, retain_bytes=0)
        await append(place, clock, 1, delay_ms=100)
        await append_and_settle(place, clock, 10)
        await clock.sleep(200)
        await append_and_settle(place, clock, 0)  # it is moved
        await append_and_settle(place, clock, 20)
        await place.close()
        place = place_on(disk, clock, retain_bytes=0)
        place.tidy()  # the segment where it waited goes, and the one that it was moved to
        assert len(place.journal.segments) == 1
        for left in (disk.power_cut(disk.steps + 1, random.Random(seed)) for seed in range(100)):
            assert await ids_of(place_on(left, clock)) == []

    simulate(1, main)


def test_delayed_message_is_not_taken_for_one_that_was_moved_and_lost_where_it_had_waited() -> None:
    """A power cut may take the frame in which a message waited, and leave the one that moved it."""

    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, fsync="never")
        [moved] = await append(place, clock, 1, delay_ms=100)
        await append(place, clock, 1)
        await clock.sleep(200)
        assert moved in await ids_of(place)
        taken = 0
        for left in (disk.power_cut(disk.steps + 1, random.Random(seed)) for seed in range(60)):
            place = place_on(left, clock, fsync="never")
            taken += bool(place.damages)
            [fresh] = await append(place, clock, 1, delay_ms=100)
            await place.close()
            place = place_on(left, clock, fsync="never")
            await clock.sleep(200)
            assert fresh in await ids_of(place)
            await place.close()
        assert taken

    simulate(1, main)


def test_segment_about_to_be_used_again_is_no_problem() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock)
        await append(place, clock, 20)
        await place.close()
        oldest = next(name for name in disk.names() if name.startswith("segment-"))
        write_header(disk.open(oldest), 99, 0)
        report = inspect(disk, "the log")
        assert report.ok
        assert [note for note in report.notes if oldest in note]

    simulate(1, main)


def test_file_that_is_used_again_has_one_name_after_the_loss_of_power() -> None:
    """Its old one came back where only the second of its new names was durable: who wrote to one changed the other."""

    async def main(clock: SimulatedClock) -> None:
        disk = FakeDisk()
        place = place_on(disk, clock, retain_bytes=0, spares_max=1)
        while disk.renamed("spare-segment-", "segment-") < 2:
            await append_and_settle(place, clock, 2)
            place.tidy()
        for step in range(1, disk.steps + 2):
            for seed in range(30):
                names = disk.power_cut(step, random.Random(seed)).image().names
                files = [file for name, file in names.items() if not name.endswith("-unready")]
                assert len(files) == len(set(files)), names

    simulate(1, main)
