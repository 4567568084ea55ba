"""The last rung of a ladder: taken when nothing else is, pumped back in order, adopted when its process is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.slots import LogSlots
from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_log
from evermq.errors import Rejected, Unavailable, Unsupported
from evermq.ha.failover import Failover
from evermq.ha.host_rung import HostRung
from evermq.message import Message, MessageFactory
from evermq.position import Position
from evermq.testing.faulty import Faulty

make = MessageFactory()
_OPTIONS = LogOptions(segment_bytes=1 << 20)


class Ladder:
    """Two rungs in memory that may go down, and slots in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.primary = Faulty(MemoryQueue("orders", lanes=4))
        self.standby = Faulty(MemoryQueue("orders", lanes=4))
        self.dead = MemoryQueue("orders.pump.dead", lanes=1)
        self.append_ms_max = 10_000  # the disk may be slow

    def slots(self, producer: str | None = None) -> LogSlots:
        opened = partial(open_log, segment_bytes=_OPTIONS.segment_bytes)
        return LogSlots(self.directory, "orders", opened, options=_OPTIONS, producer=producer, own_ms_max=3_000)

    @asynccontextmanager
    async def open(self, producer: str | None = None) -> AsyncIterator[tuple[Failover, HostRung]]:
        """What one process of this host has; its rungs outlive it."""
        rung = HostRung(self.slots(producer), name="orders", dead=_Kept(self.dead))
        primary, standby = _Kept(self.primary), _Kept(self.standby)
        queue = Failover(primary=primary, standby=standby, last=rung, append_ms_max=self.append_ms_max)
        try:
            yield queue, rung
        finally:
            await queue.close()

    def down(self) -> None:
        for rung in (self.primary, self.standby):
            rung.down()

    def up(self) -> None:
        for rung in (self.primary, self.standby):
            rung.up()


class _Kept:
    """A queue that is not closed with the ladder."""

    def __init__(self, queue: Faulty | MemoryQueue) -> None:
        self.name, self.append, self.reader, self.backlog = queue.name, queue.append, queue.reader, queue.backlog
        self.traits = queue.traits

    async def close(self) -> None:
        return None


@pytest.fixture
def ladder(tmp_path: Path) -> Ladder:
    return Ladder(tmp_path / "slots")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def read_all(queue: Failover, count: int) -> list[Message]:
    reader = await queue.reader("billing")
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            deliveries = await reader.read(count_max=100, wait_ms=500)
            found += [delivery.message for delivery in deliveries]
            await reader.ack(deliveries)
    await reader.close()
    return found


async def test_outage_of_all_rungs_goes_to_the_host_and_comes_back_in_order(ladder: Ladder) -> None:
    async with ladder.open() as (queue, rung):
        ladder.down()
        sent = [make(f"{number}", key="k") for number in range(50)]
        for first in range(0, 50, 10):
            positions = await queue.append(sent[first : first + 10])
            assert {position.via for position in positions} == {("last",)}
        assert not rung.is_empty
        assert await rung.backlog("billing") == 50
        ladder.up()
        assert [message.id for message in await read_all(queue, 50)] == [message.id for message in sent]
        await until(lambda: rung.is_empty)
        assert (await queue.append([make("later", key="k")]))[0].via == ("primary",)


def hold_pump(queue: Failover, patch: pytest.MonkeyPatch) -> asyncio.Event:
    """Nothing goes up before this is set, however slow the rest is."""
    goes_on, above = asyncio.Event(), queue.append_above

    async def held(messages: Sequence[Message]) -> Sequence[Position]:
        if not goes_on.is_set():
            raise Unavailable("the pump has to wait")
        return await above(messages)

    patch.setattr(queue, "append_above", held)
    return goes_on


async def test_nothing_overtakes_what_waits_in_the_slot(ladder: Ladder, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ladder.open() as (queue, _):
        pump = hold_pump(queue, monkeypatch)
        ladder.down()
        first = [make("1", key="k"), make("2", key="k")]
        await queue.append(first)
        ladder.standby.up()  # whatever is up, the slot is not empty yet
        second = make("3", key="k")
        assert (await queue.append([second]))[0].via == ("last",)
        pump.set()
        ladder.up()
        assert [m.id for m in await read_all(queue, 3)] == [*(m.id for m in first), second.id]


async def test_ladder_that_keeps_order_lets_nothing_pass_a_slot_that_takes_no_more(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ladder.open() as (queue, rung):
        queue.keeps_order = True
        pump = hold_pump(queue, monkeypatch)
        ladder.down()
        first, second = make("1", key="k"), make("2", key="k")
        await queue.append([first])

        async def full(messages: Sequence[Message]) -> Sequence[Position]:
            raise Unavailable("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(rung, "append", full)
            ladder.standby.up()
            with pytest.raises(Unavailable, match="full"):
                await queue.append([second])
        pump.set()
        await until(lambda: rung.is_empty)
        await queue.append([second])
        assert [message.id for message in await read_all(queue, 2)] == [first.id, second.id]


async def test_slow_disk_is_waited_for_longer_than_other_rungs(ladder: Ladder, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder.append_ms_max = 1_000
    async with ladder.open() as (queue, rung):
        ladder.down()
        real = rung.append

        async def slow(messages: Sequence[Message]) -> Sequence[Position]:
            await asyncio.sleep(1.2)
            return await real(messages)

        monkeypatch.setattr(rung, "append", slow)
        assert [position.via for position in await queue.append([make("1")])] == [("last",)]


async def test_slot_that_is_appended_to_without_a_pause_is_empty_in_the_end(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder.down()
    async with ladder.open() as (queue, rung):
        queue.keeps_order = True
        await queue.append([make("first")])
        assert rung._queue
        append = rung._queue.append

        async def slowly(messages: Sequence[Message]) -> Sequence[Position]:
            await asyncio.sleep(0.04)
            return await append(messages)

        monkeypatch.setattr(rung._queue, "append", slowly)
        sent: list[str] = []
        ladder.up()

        async def send() -> None:
            while "primary" not in sent[-8:]:
                [position] = await queue.append([make("x")])
                sent.append(position.via[0])

        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(send())
                await asyncio.sleep(0.005)
        await until(lambda: rung.is_empty)
        assert len(await read_all(queue, len(sent) + 1)) == len(sent) + 1


async def test_slot_of_a_process_that_is_gone_is_emptied_by_one_that_only_reads(ladder: Ladder) -> None:
    ladder.down()
    async with ladder.open() as (queue, rung):
        await queue.append([make("1"), make("2")])
    # It left two messages behind; another process holds the slot of its own that comes first.
    other = ladder.slots()
    assert (await other.own()).name.endswith("-0")
    ladder.up()
    await other.close()
    async with ladder.open() as (queue, rung):
        assert len(await read_all(queue, 2)) == 2
        await until(lambda: rung.is_empty)


async def test_orphan_is_adopted_by_a_process_that_has_a_slot_already(ladder: Ladder) -> None:
    ladder.down()
    async with ladder.open() as (survivor, rung):
        await survivor.append([make("own")])
        async with ladder.open() as (queue, _):
            await queue.append([make("1"), make("2")])
        assert await rung.backlog("billing") == 3
        ladder.up()
        assert len(await read_all(survivor, 3)) == 3
        await until(lambda: rung.adopted == 1)
        assert await survivor.backlog("billing") == 0


async def test_what_a_process_adopted_is_counted_until_it_has_gone_up(ladder: Ladder) -> None:
    ladder.down()
    async with ladder.open() as (survivor, rung):
        await survivor.append([make("own")])
        async with ladder.open() as (queue, _):
            await queue.append([make("1"), make("2")])
        slots = rung._slots
        assert isinstance(slots, LogSlots)
        await until(lambda: bool(slots._adopted))
        assert await rung.backlog("billing") == 3


async def test_what_an_earlier_process_left_in_the_own_slot_is_counted_before_its_log_is_open(ladder: Ladder) -> None:
    ladder.down()
    async with ladder.open("till-7") as (queue, _):
        await queue.append([make("1"), make("2")])
    rung = HostRung(ladder.slots("till-7"), name="orders", dead=_Kept(ladder.dead))
    assert not (await rung.slot()).is_empty
    assert await rung.backlog("billing") == 2
    await rung.close()


async def test_named_producer_has_its_slot_again_from_an_adopter(ladder: Ladder) -> None:
    ladder.down()
    async with ladder.open("till-7") as (queue, rung):
        await queue.append([make("1", key="k")])
        memory = (await rung.slot()).memory(64)
        memory[:4] = b"mine"
    async with ladder.open() as (reading, adopter):
        await reading.append([make("x")])
        await until(lambda: bool(adopter._slots._adopted))  # type: ignore[attr-defined]
        async with ladder.open("till-7") as (queue, rung):
            slot = await rung.slot()
            assert slot.name == "till-7"
            assert slot.is_named
            assert slot.incarnation == 1
            assert bytes(slot.memory(64)[:4]) == b"mine"
            await queue.append([make("2", key="k")])
            ladder.up()
            bodies = [m.body for m in await read_all(queue, 3) if m.key]
            assert bodies == [b"1", b"2"]


async def test_two_processes_of_one_name_are_refused(ladder: Ladder) -> None:
    async with ladder.open("till-7") as (_, rung):
        await rung.slot()
        second = ladder.slots("till-7")
        with pytest.raises(Unavailable, match="till-7"):
            await second.own()


async def test_message_that_is_refused_above_goes_to_the_dead_letters_and_holds_up_nobody(ladder: Ladder) -> None:
    class Picky(_Kept):
        async def _append(self, messages: list[Message]) -> object:
            if any(message.body == b"bad" for message in messages):
                raise Rejected("no bad ones")
            return await self._inner.append(messages)

        def __init__(self, inner: Faulty) -> None:
            super().__init__(inner)
            self._inner = inner
            self.append = self._append  # type: ignore[assignment]

    rung = HostRung(ladder.slots(), name="orders", dead=_Kept(ladder.dead))
    queue = Failover(primary=Picky(ladder.primary), standby=Picky(ladder.standby), last=rung, append_ms_max=300)
    ladder.down()
    await rung._open()
    await rung.append([make("good"), make("bad"), make("better")])
    ladder.up()
    assert {m.body for m in await read_all(queue, 2)} == {b"good", b"better"}
    await until(lambda: rung.counts.dead == 1)
    await queue.close()
    assert await ladder.dead.backlog("anybody") == 1


async def test_host_rung_is_not_read(ladder: Ladder) -> None:
    async with ladder.open() as (_, rung):
        with pytest.raises(Unsupported, match="read the ladder"):
            await rung.reader("billing")


async def test_what_the_rungs_above_could_not_take_is_refused_at_once(ladder: Ladder) -> None:
    async with ladder.open() as (queue, _):
        assert queue.traits.message_bytes_max < ladder.primary.traits.message_bytes_max
        with pytest.raises(Rejected):
            await queue.append([make(bytes(ladder.primary.traits.message_bytes_max))])


async def test_slot_that_was_filled_while_it_was_asked_is_not_taken_for_empty(ladder: Ladder) -> None:
    async with ladder.open() as (_, rung):
        queue = await rung._open()
        asked, answer = asyncio.Event(), asyncio.Event()
        backlog = queue.backlog

        async def slow(group: str, lane: str | None = None) -> int:
            found = await backlog(group, lane)
            asked.set()
            await answer.wait()
            return found

        queue.backlog = slow  # type: ignore[method-assign]
        looking = asyncio.create_task(rung._look())
        await asked.wait()
        await rung.append([make("came meanwhile")])
        answer.set()
        await looking
        assert not rung.is_empty
        queue.backlog = backlog  # type: ignore[method-assign]


async def test_error_that_nobody_foresaw_does_not_end_the_adoption_of_slots(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = LogSlots.orphan, 0

    async def orphan(self: LogSlots) -> object:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise KeyError("a defect")
        return await real(self)

    ladder.down()
    async with ladder.open() as (survivor, _):
        await survivor.append([make("own")])
        async with ladder.open() as (queue, _):
            await queue.append([make("left")])
    monkeypatch.setattr(LogSlots, "orphan", orphan)
    ladder.up()
    async with ladder.open() as (queue, rung):
        assert len(await read_all(queue, 2)) == 2
        assert "a defect" in rung.error
