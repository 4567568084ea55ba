"""Topics that are made and dropped again and again: nothing of them stays, nothing else goes, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from evermq.adapters.log.damage import frames_of
from evermq.adapters.log.frame import Frame, Kind
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.recovery import ENDS
from evermq.adapters.log.segment import number_of
from evermq.adapters.log.verify import inspect
from evermq.errors import Closed, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.port import Start
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk, Faults
from evermq.testing.simulation.loop import simulate

OPTIONS = LogOptions(lanes=4, segment_bytes=8192, retain_bytes=0)


def open_place(disk: FakeDisk, clock: SimulatedClock) -> LogPlace:
    return LogPlace(disk, OPTIONS, clock=clock, threaded=False)


async def fill(place: LogPlace, topic: str, make: MessageFactory, count: int = 4) -> list[str]:
    messages = [make(b"x" * 400, key=str(number)) for number in range(count)]
    await (await place.queue(topic)).append(messages)
    return sorted(message.id for message in messages)


async def stored(place: LogPlace, topic: str) -> list[str]:
    """The ids, sorted."""
    reader = await (await place.queue(topic)).reader("audit")
    found = []
    while more := await reader.read(count_max=100, wait_ms=0):
        found += [delivery.message.id for delivery in more]
        await reader.ack(more)
    await reader.close()
    return sorted(found)


async def jobs(place: LogPlace, make: MessageFactory, numbers: Sequence[int]) -> None:
    """A topic a job, read and dropped at its end."""
    for number in numbers:
        await fill(place, f"job-{number}", make)
        await stored(place, f"job-{number}")
        await place.drop(f"job-{number}")
        place.tidy()


def listed(disk: FakeDisk) -> set[int]:
    """The topics whose lanes the newest segment lists."""
    name = max(name for name in disk.names() if number_of(name) is not None)
    file = disk.open(name)
    for found in frames_of(file.pread(file.size(), 0), number_of(name) or 0):
        assert isinstance(found, Frame)
        for entry in found.entries:
            if entry.kind == Kind.ENDS:
                return {topic for topic, _, _ in ENDS.iter_unpack(entry.payload)}
    raise AssertionError(f"{name} lists no lanes")


def test_what_a_log_knows_does_not_grow_with_the_topics_that_were_dropped() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = open_place(disk, clock)
        await fill(place, "orders", make)
        await jobs(place, make, range(60))
        last = place.journal.segments[-1]
        while place.journal.segments[-1] is last:
            await fill(place, "orders", make)
        index = place.journal.state.index
        live = set(place.topics_by_number)
        assert {topic for topic, _ in index.lanes} == {topic for topic, _ in index.ends} == live
        assert listed(disk) == live
        await place.close()
        place = open_place(disk, clock)
        assert {topic for topic, _ in place.journal.state.index.lanes} == live
        assert inspect(disk, "here").ok
        await place.close()

    simulate(1, main)


def test_lanes_that_were_only_asked_after_are_not_listed() -> None:
    async def main(clock: SimulatedClock) -> None:
        place = open_place(FakeDisk(), clock)
        for number in range(10):
            await place.create(f"topic-{number}", groups=["g"])
            assert await (await place.queue(f"topic-{number}")).backlog("other") == 0
        assert not place.journal.state.index.lanes
        await place.close()

    simulate(1, main)


@pytest.mark.parametrize("reopened", [False, True])
def test_topic_of_a_dropped_name_is_a_new_one(reopened: bool) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = open_place(disk, clock)
        old = await fill(place, "job", make)
        queue = await place.queue("job")
        reader = await queue.reader("g")
        before = place.topics_by_number.keys() | {group.number for group in place.catalog.groups}
        await place.drop("job")
        await jobs(place, make, range(20))
        for refused in (reader.read(count_max=1, wait_ms=0), queue.append([make(b"x")]), queue.backlog("g")):
            with pytest.raises(Closed, match="job was dropped"):
                await refused
        if reopened:
            await place.close()
            place = open_place(disk, clock)
        new = await fill(place, "job", make)
        assert not before & place.topics_by_number.keys()
        assert await stored(place, "job") == new
        assert old
        await place.close()

    simulate(1, main)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_append_that_waits_when_its_topic_is_dropped_is_refused(count: int) -> None:
    """Where the lanes end may be forgotten by then: it would get offsets that were given before."""

    async def main(clock: SimulatedClock) -> None:
        make = MessageFactory(clock)
        place = open_place(FakeDisk(), clock)
        await fill(place, "job", make)
        queue, other = await place.queue("job"), await place.queue("orders")
        late = asyncio.ensure_future(queue.append([make(b"x") for _ in range(count)]))
        beside = asyncio.ensure_future(other.append([make(b"x")]))
        await asyncio.sleep(0)
        await place.drop("job")
        with pytest.raises(Closed, match="dropped"):
            await late
        assert (await beside)[0].offset == 0
        await place.close()

    simulate(1, main)


def test_crash_at_any_step_leaves_a_topic_whole_or_dropped() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = open_place(disk, clock)
        kept = await fill(place, "orders", make)
        begun, ended = disk.steps, [disk.steps]
        for number in range(8):
            await fill(place, f"job-{number}", make, 6)
            await place.drop(f"job-{number}")
            place.tidy()
            ended.append(disk.steps)
        await place.close()
        for step in range(begun + 1, disk.steps + 2):
            for crash in (disk.power_cut, disk.kill):
                left = crash(step, clock.random)
                again = open_place(left, clock)
                done = sum(end < step for end in ended) - 1
                gone = {f"job-{number}" for number in range(done)}
                assert not gone & set(await again.topics()), step
                assert await stored(again, "orders") == kept, step
                live = set(again.topics_by_number)
                assert {topic for topic, _ in again.journal.state.index.lanes} <= live, step
                more = await fill(again, "job-0", make)
                assert set(more) <= set(await stored(again, "job-0")), step
                await again.close()
                assert inspect(left, "here").ok, step

    simulate(1, main)


@pytest.mark.parametrize("call", range(1, 13))
def test_reset_that_fails_half_way_holds_after_a_crash_only_where_it_holds_before(call: int) -> None:
    """Else what a group that goes on where it was has not read yet would be skipped by the next process."""

    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = open_place(disk, clock)
        waiting = await fill(place, "orders", make)
        await (await (await place.queue("orders")).reader("audit")).close()
        disk.faults = Faults(fail_at=call, for_ever=True)
        refused = False
        try:
            await place.reset("orders", "audit", Start.NEWEST)
        except Unavailable:
            refused = True
        except Uncertain:
            pass
        disk.faults = Faults()
        left = await (await place.queue("orders")).backlog("audit")
        assert left == (len(waiting) if refused else 0)
        again = open_place(disk.kill(disk.steps + 1, clock.random), clock)
        found = await stored(again, "orders")
        assert found == waiting or not (left or found)

    simulate(1, main)


@pytest.mark.parametrize("call", range(1, 13))
def test_drop_that_fails_half_way_loses_nothing_that_is_acknowledged_behind_it(call: int) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = open_place(disk, clock)
        acknowledged = await fill(place, "orders", make)
        await place.create("another")
        queue, late = await place.queue("orders"), make(b"x")
        disk.faults = Faults(fail_at=call)
        try:
            await place.drop("orders")
        except Unavailable:
            await queue.append([late])
            acknowledged.append(late.id)
        except Uncertain:
            with pytest.raises(Closed):
                await queue.append([late])
        disk.faults = Faults()
        is_there = late.id in acknowledged
        again = open_place(disk.kill(disk.steps + 1, clock.random), clock)
        if is_there:
            assert await stored(again, "orders") == acknowledged
        else:
            await place.create("orders")
            again = open_place(disk.kill(disk.steps + 1, clock.random), clock)
            assert await stored(again, "orders") == []

    simulate(1, main)


@pytest.mark.parametrize("call", range(1, 13))
def test_late_group_that_was_unavailable_is_not_there_after_a_crash(call: int) -> None:
    """Else it holds back what nobody reads, and one that is asked for later does not begin where it should."""

    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = open_place(disk, clock)
        await fill(place, "orders", make)
        queue = await place.queue("orders")
        disk.faults = Faults(fail_at=call, for_ever=True)
        refused = False
        try:
            await queue.reader("audit", start=Start.NEWEST)
        except Unavailable:
            refused = True
        except Uncertain:
            pass
        disk.faults = Faults()
        later = await fill(place, "orders", make)
        for crash in (disk.power_cut, disk.kill):
            again = open_place(crash(disk.steps + 1, clock.random), clock)
            found = (await again.describe("orders")).groups
            assert not (refused and found)
            assert not found or await stored(again, "orders") == later

    simulate(1, main)


def test_late_group_that_was_uncertain_begins_where_it_is_asked_for_again() -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        place = open_place(disk, clock)
        await fill(place, "orders", make)
        queue = await place.queue("orders")
        disk.faults = Faults(fail_at=2, for_ever=True)
        with pytest.raises(Uncertain):
            await queue.reader("audit")
        disk.faults = Faults()
        await (await queue.reader("audit", start=Start.NEWEST)).close()
        for crash in (disk.power_cut, disk.kill):
            again = open_place(crash(disk.steps + 1, clock.random), clock)
            assert await stored(again, "orders") == []

    simulate(1, main)
