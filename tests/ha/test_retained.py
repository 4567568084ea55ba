"""Copies of what a standby acknowledged: dropped once every group has settled it, sent again where it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.policy.test_gate import STREAM, delivery

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.slots import LogSlots
from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_log
from evermq.errors import NoSuchTopic, Unavailable, Unsupported
from evermq.ha import retained
from evermq.ha.retained import Retained
from evermq.lanes import lane_of
from evermq.message import Message
from evermq.numbers import SEQ, lane_of_stream, number_of
from evermq.position import Position
from evermq.progress.memory import MemoryProgress
from evermq.settled import Settled
from evermq.settling import COPY, SENT, Report, Wanted
from evermq.testing.progressing import HandClock

GROUPS = ("audit", "billing")


class Rung(MemoryQueue):
    """A standby that says what a group has left, or does not answer."""

    def __init__(self) -> None:
        super().__init__("orders", lanes=4)
        self.left: dict[str, int] = dict.fromkeys(GROUPS, 0)
        self.error: Exception | None = None
        self.has_ends = True
        self.asked: set[str | None] = set()

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self.asked.add(lane)
        if self.error:
            raise self.error
        return self.left[group]

    async def end(self, lane: str) -> int:
        if not self.has_ends:
            raise Unsupported("it does not tell where its lanes end")
        return await super().end(lane)


class Host:
    """One process, with two groups of readers somewhere else."""

    def __init__(self, directory: Path, *, bytes_max: int = 0) -> None:
        self.bytes_max = bytes_max
        self.clock = HandClock()
        self.rung = Rung()
        self.progress = MemoryProgress(clock=self.clock)
        self.sent: list[Message] = []
        self.last: Sequence[Message] = ()
        self.fails: Exception | None = None
        self.comes_back = False
        self.directory = directory
        self.retained = self.process()

    def process(self, groups: Collection[str] = GROUPS) -> Retained:
        options = LogOptions(segment_bytes=1 << 20, fsync="never", bytes_max=self.bytes_max)
        opened = partial(open_log, segment_bytes=1 << 20, fsync="never", bytes_max=self.bytes_max)
        slots = LogSlots(self.directory, "orders", opened, options=options)
        return Retained(self.rung, slots, progress=self.progress, groups=groups, send=self.send, clock=self.clock)

    async def send(self, messages: Sequence[Message]) -> Sequence[Position]:
        if self.fails:
            raise self.fails
        self.sent += messages
        self.last = messages
        if self.comes_back:
            await self.retained.keep(messages)
        return [Position("0", 0, ("primary",)) for _ in messages]

    async def read(self) -> None:
        """Readers of both groups say where they are."""
        for group in GROUPS:
            await (await self.progress.join(group)).renew(Report({"standby/0": 1}))

    async def kept(self, *numbers: int) -> None:
        await self.retained.keep([delivery(seq, back=0).message for seq in numbers])

    async def settle(self, group: str, *numbers: int) -> None:
        """What readers of a group write down."""
        part = await self.progress.join(group)
        found = number_of(delivery(1, back=0).message)
        assert found
        lane = lane_of_stream(found.stream)
        await part.claim([lane])
        state = Settled()
        for seq in numbers:
            state.add(seq)
        await part.settle({lane: {found.stream: state.pack()}})
        await part.leave()

    async def look(self, later_ms: int = 5_000) -> list[int]:
        """The numbers that are sent again."""
        self.clock.ms += later_ms
        await self.retained.tell()
        await self.retained.look()
        numbers = [number_of(message) for message in self.sent]
        self.sent.clear()
        return [number.seq for number in numbers if number]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    found = Host(tmp_path)
    await found.read()
    yield found
    await found.retained.close()


async def test_what_the_rung_has_lost_is_sent_again(host: Host) -> None:
    await host.kept(1, 2, 3)
    host.rung.left = {"audit": 3, "billing": 3}
    assert await host.look() == []
    assert await host.look() == []
    host.rung.left["billing"] = 0
    assert await host.look() == [1, 2, 3]


async def test_rung_is_asked_for_the_lanes_in_which_it_keeps_the_keys(host: Host) -> None:
    """Whichever lanes the numbers have: how many the rung has was perhaps not known when they were given."""
    key = delivery(1).message.key
    assert key
    assert lane_of(key, 4) != lane_of_stream(STREAM) % 4
    await host.kept(1, 2, 3)
    host.rung.left = {"audit": 3, "billing": 3}
    await host.look()
    await host.look()
    assert host.rung.asked == {None, str(lane_of(key, 4))}


async def test_backlog_of_what_nobody_holds_proves_no_loss(host: Host) -> None:
    """As RabbitMQ counts: what its readers hold is missing from it."""
    await host.kept(1, 2, 3)
    host.rung.has_ends = False
    assert await host.look() == []
    assert await host.look() == []
    host.rung.has_ends = True
    assert await host.look() == [1, 2, 3]


async def test_store_that_no_reader_writes_to_proves_no_loss(tmp_path: Path) -> None:
    """As where `progress` is a directory and the readers are on another host: all would be sent again and again."""
    host = Host(tmp_path)
    await host.kept(1, 2)
    await host.look()
    assert await host.look() == []
    await host.read()
    assert await host.look() == [1, 2]
    await host.retained.close()


async def test_what_a_group_has_settled_is_not_missing(host: Host) -> None:
    await host.kept(1, 2, 3)
    await host.settle("billing", 1, 2)
    host.rung.left = {"audit": 3, "billing": 1}
    await host.look()
    assert await host.look() == []
    assert host.retained.counts.dropped == 0, "the other group has settled nothing"
    await host.settle("audit", 1)
    host.rung.left["audit"] = 2
    assert await host.look() == []
    assert host.retained.counts.dropped == 1


async def test_copies_are_gone_once_all_is_settled(host: Host) -> None:
    await host.kept(1, 2)
    for group in GROUPS:
        await host.settle(group, 1, 2)
    assert await host.look() == []
    assert host.retained.counts.dropped == 2
    again = host.process()
    await again.look()
    await again._copies.adopt()
    assert again._copies.is_empty
    await again.close()


async def test_rung_that_does_not_answer_has_lost_nothing(host: Host) -> None:
    await host.kept(1)
    host.rung.error = Unavailable("down")
    await host.look()
    assert await host.look() == []
    host.rung.error = NoSuchTopic("flushed")
    assert await host.look() == [1]


async def test_what_could_not_be_sent_again_is_tried_the_next_time(host: Host) -> None:
    await host.kept(1)
    await host.look()
    host.fails = Unavailable("nothing takes it")
    with pytest.raises(Unavailable):
        await host.look()
    host.fails = None
    assert await host.look() == [1]


async def test_what_another_rung_took_is_let_go_and_what_the_same_took_is_watched_on(host: Host) -> None:
    await host.kept(1)
    host.comes_back = True
    await host.look()
    assert await host.look() == [1]
    host.comes_back = False
    assert await host.look() == [1], "lost once more"
    assert await host.look() == []
    assert await host.look(60_000) == []
    assert host.retained.counts.dropped == 1
    assert host.retained.counts.kept == 1


async def test_group_that_nobody_reads_keeps_no_other_from_what_is_copied_later(host: Host) -> None:
    """Its own window stands still, full of the oldest copies."""
    old, new = range(1, 6_001), range(6_001, 6_101)
    for first in old[::500]:
        await host.kept(*range(first, first + 500))
    await host.settle("billing", *old)
    host.rung.left = {"audit": len(old), "billing": 0}
    await host.look()
    await host.look()
    await host.kept(*new)
    host.rung.left = {"audit": len(old) + len(new), "billing": len(new)}
    await host.look()
    assert not await host.look()
    host.rung.left = {"audit": len(old), "billing": 0}
    assert set(await host.look()) == {*new}
    assert len(host.retained._copies.windows["audit"].copies) == 5_000
    assert not host.retained.counts.dropped, "a reader of the other group may come yet"


async def test_readers_are_told_of_copies_behind_the_window(host: Host) -> None:
    for first in range(1, 6_001, 500):
        await host.kept(*range(first, first + 500))
    host.rung.left = dict.fromkeys(GROUPS, 6_000)
    await host.retained.tell()
    reader = await host.progress.join("billing")

    async def told() -> list[tuple[int, int, str]]:
        await host.retained.tell()
        held = [each for report in (await reader.renew(Report())).reports for each in report.held]
        return [(each.seq, each.last, each.rung) for each in held]

    assert await told() == [(1, 6_000, COPY)]
    host.clock.ms += 10_000
    assert await told() == [(1, 5_000, COPY)], "what keeps the window from moving may wait for what is behind it"
    await host.settle("billing", *range(1, 3_001))
    await host.look()
    assert await told() == [(3_001, 6_000, COPY)]
    await host.settle("billing", *range(1, 6_001))
    await host.look()
    assert await told() == []


async def test_copies_that_several_groups_left_are_taken_over_once(host: Host) -> None:
    await host.kept(1, 2, 3)
    await host.settle("audit", 2)
    host.rung.left = {"audit": 2, "billing": 3}
    await host.look()
    await host.retained.close()
    host.retained = host.process()
    await host.retained._copies.adopt()
    await host.read()
    assert await host.look() == []
    copies = host.retained._copies
    assert copies._queue
    assert [await copies._queue.backlog(each) for each in GROUPS] == [2, 3]
    host.rung.left = dict.fromkeys(GROUPS, 0)
    assert sorted(await host.look()) == [1, 2, 3]


async def test_group_that_is_not_declared_any_more_holds_no_copies(host: Host) -> None:
    await host.kept(1, 2)
    await host.settle("billing", 1)
    host.rung.left = {"audit": 2, "billing": 1}
    await host.look()
    await host.retained.close()
    host.retained = host.process(["billing"])
    await host.kept(3)
    await host.settle("billing", 1, 2, 3)
    await host.look()
    await host.look()
    copies = host.retained._copies
    assert copies.is_empty
    assert copies._queue
    assert await copies._queue.backlog("audit") == 0


async def test_it_is_not_sent_again_for_ever(host: Host) -> None:
    """A group that began later takes none of what was before its time."""
    await host.kept(1)
    host.comes_back = True
    await host.look()
    times = 0
    while await host.look():
        times += 1
    assert times == 10
    assert host.retained.counts.dropped == 1


async def test_copies_of_a_process_that_is_gone_are_taken_over(host: Host) -> None:
    await host.kept(1, 2)
    await host.retained.close()
    host.retained = host.process()
    await host.retained._copies.adopt()
    await host.look()
    assert await host.look() == [1, 2]


async def test_readers_are_told_and_ask(host: Host) -> None:
    await host.kept(4, 5, 6)
    await host.retained.tell()
    reader = await host.progress.join("billing")
    held = [each for report in (await reader.renew(Report())).reports for each in report.held]
    assert [(each.seq, each.last, each.rung) for each in held] == [(4, 6, COPY)]
    await reader.renew(Report(wanted=[Wanted(held[0].stream, 5, 5)]))
    await host.retained.tell()
    assert [number.seq for message in host.sent if (number := number_of(message))] == [5]
    await host.retained.tell()
    told = [each for report in (await reader.renew(Report())).reports for each in report.held]
    assert sorted((each.seq, each.last, each.rung) for each in told) == [(4, 6, COPY), (5, 5, SENT)]
    assert len(host.sent) == 1, "it is on its way"


async def test_disk_that_hangs_does_not_hold_an_append_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = asyncio.Event()

    async def keep(messages: Sequence[Message]) -> None:
        await hangs.wait()

    monkeypatch.setattr(retained, "_KEEP_S", 0.01)
    monkeypatch.setattr(host.retained._copies, "keep", keep)
    await host.kept(1, 2)
    assert host.retained.counts.unkept == 2
    assert "did not answer" in host.retained.error
    hangs.set()


async def test_disk_that_hangs_for_long_is_not_handed_ever_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it would be held in memory, as long as the rung is used."""
    hangs, handed = asyncio.Event(), list[Sequence[Message]]()

    async def keep(messages: Sequence[Message]) -> None:
        handed.append(messages)
        await hangs.wait()

    monkeypatch.setattr(retained, "_KEEP_S", 0.01)
    monkeypatch.setattr(host.retained._copies, "keep", keep)
    for _ in range(8):
        await host.kept(1)
    assert (len(handed), host.retained.counts.unkept) == (4, 8)
    hangs.set()
    async with asyncio.timeout(20):
        while host.retained.counts.kept == 0:
            await asyncio.sleep(0)
            await host.kept(1)


async def test_full_log_of_copies_does_not_fail_the_append_and_takes_more_once_there_is_room(tmp_path: Path) -> None:
    host = Host(tmp_path, bytes_max=4 << 20)
    body = delivery(1, back=0).message._replace(body=bytes(100_000))
    count = 0
    while not host.retained.counts.unkept:
        count += 1
        await host.retained.keep([body._replace(id=f"m{count}", headers={SEQ: f"{STREAM} {count} 0 0"})])
        assert count < 100
    assert host.retained.counts.kept == count - 1 > 10
    for group in GROUPS:
        await host.settle(group, *range(1, count + 1))
    await host.look()
    assert host.retained.counts.dropped == count - 1
    await host.retained.close()


async def test_disk_that_takes_no_copy_does_not_fail_the_append(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(messages: Sequence[Message]) -> None:
        raise Unavailable("no room")

    monkeypatch.setattr(host.retained._copies, "keep", keep)
    await host.kept(1, 2)
    assert (host.retained.counts.unkept, host.retained.error) == (2, "no room")
