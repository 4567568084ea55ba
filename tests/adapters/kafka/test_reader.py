"""A reader beside a membership that is played: what it acknowledges, and when it waits for a commit."""

import asyncio
from typing import Any

import pytest

from evermq.adapters.kafka import reader as module
from evermq.adapters.kafka.group import Group
from evermq.adapters.kafka.lane import Lane
from evermq.adapters.kafka.progress import unpack
from evermq.adapters.kafka.reader import KafkaReader
from evermq.clock import SYSTEM, SystemClock
from evermq.message import MessageFactory
from evermq.port import Delivery

make = MessageFactory()


class Commits:
    """Are made when it is told to."""

    def __init__(self) -> None:
        self.uncommitted = 0
        self.pending: asyncio.Future[None] | None = None
        self.waited = 0

    def soon(self, settled: int = 0) -> None:
        self.uncommitted += settled
        self.pending = self.pending or asyncio.get_running_loop().create_future()

    async def wait(self, pending: asyncio.Future[None] | None, wait_s: float) -> None:
        self.waited += 1
        assert pending is not None
        await asyncio.wait([pending], timeout=wait_s)

    def make(self) -> None:
        assert self.pending
        self.pending.set_result(None)
        self.pending, self.uncommitted = None, 0


class Membership:
    """Has lanes that are full."""

    def __init__(self, lanes: int, count: int) -> None:
        self.group = Group("billing", 100_000)
        self.commits = Commits()
        self.group.assign([Lane.restore(n, str(n), 0, unpack("", 0, "")) for n in range(lanes)])
        for lane in self.group.lanes.values():
            lane.add([(offset, make(b"%d" % offset)) for offset in range(count)])

    def check(self) -> None: ...
    def fetch(self) -> None: ...
    def fetch_ahead(self) -> None: ...
    async def leave(self) -> None: ...


def played(lanes: int = 1, count: int = 10_000) -> tuple[Membership, KafkaReader]:
    membership: Any = Membership(lanes, count)
    return membership, KafkaReader(membership, SYSTEM)


async def read(reader: KafkaReader, count: int) -> list[Delivery]:
    return await reader.read(count_max=count, wait_ms=0)


class SetClock(SystemClock):
    """Says what it is told to."""

    wall_ms, passed_ms = 1_800_000_000_000, 5_000

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_ms(self) -> int:
        return self.passed_ms


async def test_clock_that_is_set_back_holds_nothing_up() -> None:
    membership: Any = Membership(1, 10)
    clock = SetClock()
    reader = KafkaReader(membership, clock)
    found = await read(reader, 10)
    await reader.release(found[:1], delay_ms=1_000)
    clock.wall_ms -= 3_600_000
    clock.passed_ms += 999
    assert await read(reader, 10) == []
    clock.passed_ms += 1
    assert [each.message for each in await read(reader, 10)] == [found[0].message]


def open_of(membership: Membership) -> int:
    return sum(len(lane.out) for lane in membership.group.lanes.values())


async def test_read_waits_for_a_commit_only_where_a_crash_would_repeat_too_much() -> None:
    membership, reader = played()
    while membership.commits.uncommitted <= module._UNCOMMITTED_MAX:
        await reader.ack(await read(reader, 500))
        assert not membership.commits.waited
    waiting = asyncio.create_task(read(reader, 500))
    await asyncio.sleep(0)
    assert not waiting.done()
    membership.commits.make()
    assert len(await waiting) == 500


async def test_what_a_cancelled_read_had_comes_again() -> None:
    membership, reader = played()
    first = await read(reader, 500)
    membership.commits.soon(module._UNCOMMITTED_MAX + 1)
    waiting = asyncio.create_task(read(reader, 500))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await reader.ack(first)
    membership.commits.make()
    again = await read(reader, 500)
    assert [delivery.position.offset for delivery in again] == list(range(500, 1000))
    assert {delivery.attempt for delivery in again} == {1}


@pytest.mark.parametrize("lanes", [1, 3])
async def test_whole_reads_and_parts_of_them_are_acknowledged(lanes: int) -> None:
    membership, reader = played(lanes, 300)
    whole = await read(reader, 400)
    part = await read(reader, 100)
    await reader.ack(whole)  # not the last one
    assert open_of(membership) == len(part)
    await reader.ack(part[::2])
    await reader.ack(part[::2])  # again is harmless
    assert open_of(membership) == len(part) // 2
    await reader.ack(part)
    assert open_of(membership) == 0
    assert membership.commits.uncommitted == len(whole) + len(part)


async def test_list_that_the_caller_changed_is_taken_as_it_is() -> None:
    membership, reader = played(1, 100)
    found = await read(reader, 10)
    kept = found.pop()
    await reader.ack(found)
    assert open_of(membership) == 1
    await reader.ack([kept])
    assert open_of(membership) == 0
