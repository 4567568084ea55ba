"""What a reader writes down, keeps and gives back while its store and its rungs are slow, away, or another's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from tests.policy.test_ordered import Rung, Slot

from evermq.adapters.memory import MemoryQueue
from evermq.errors import Fenced, Rejected, Unavailable
from evermq.ha.route import Route
from evermq.message import MessageFactory
from evermq.numbers import FLAGGED, SEQ
from evermq.policy.gate import ABSENT, LATE, UNPROVED
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery, Queue
from evermq.position import Position
from evermq.progress.memory import MemoryProgress
from evermq.settled import Settled
from evermq.settling import Part, Report
from evermq.testing.worlds.order_progress import DistantProgress, Way

make = MessageFactory()
SILENT_MS = 300


class Distance:
    """The way to a store: calls of one kind wait at `doors`, or fail."""

    def __init__(self) -> None:
        self.doors: dict[str, asyncio.Event] = {}
        self.doors_back: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.calls: Counter[str] = Counter()

    async def __call__(self, call: str, is_back: bool) -> None:
        self.calls[call] += 1
        doors = self.doors_back if is_back else self.doors
        if call in doors:
            await doors[call].wait()
        if not is_back and call in self.errors:
            raise self.errors[call]


def ladder(way: Way, store: MemoryProgress, primary: Queue | None = None) -> Ordered:
    rungs = {"primary": primary or MemoryQueue("t", lanes=3), "standby": MemoryQueue("t", lanes=2)}
    progress = DistantProgress(store, way)
    return Ordered(Route(rungs), slot=Slot().take, progress=progress, rungs=rungs)


async def read(reader: OrderedReader, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await reader.read(count_max=count - len(found), wait_ms=100)
    return found


async def settled(store: MemoryProgress) -> list[Settled]:
    """What the group is known to have settled, by streams."""
    states = await (await store.join("g")).look(range(384))
    return [Settled.unpack(text) for streams in states.values() for text in streams.values()]


async def test_what_is_settled_while_a_write_is_under_way_is_written_as_well() -> None:
    way, store = Distance(), MemoryProgress()
    queue = ladder(way, store)
    reader = await queue.reader("g")
    for body in ("1", "2"):
        await queue.append([make(body, key="k")])
    found = await read(reader, 2)
    way.doors["settle"] = asyncio.Event()
    acks = [asyncio.create_task(reader.ack([each])) for each in found]
    await asyncio.sleep(0.02)
    way.doors["settle"].set()
    await asyncio.gather(*acks)
    assert [each.next for each in await settled(store)] == [3]
    await queue.close()


async def take_its_lanes(way: Distance, store: MemoryProgress) -> None:
    """The only reader is not heard of for so long that another one takes its lanes, and leaves."""
    way.doors["renew"] = asyncio.Event()
    other = await that_hears_nothing(store)
    async with asyncio.timeout(20):
        while len(await other.claim(range(384))) < 384:  # a busy machine may have kept the other one from the store
            await asyncio.sleep(SILENT_MS / 4 / 1000)
            await other.renew(Report())
    await other.leave()


async def that_hears_nothing(store: MemoryProgress) -> Part:
    """Another reader of the group, that could reach the store all the while in which nobody else was heard of."""
    other = await store.join("g")
    for _ in range(8):
        await asyncio.sleep(SILENT_MS / 4 / 1000)
        await other.renew(Report())
    return other


async def test_what_was_acknowledged_as_its_lane_was_lost_comes_again() -> None:
    way, store = Distance(), MemoryProgress(silent_ms_max=SILENT_MS)
    queue = ladder(way, store)
    reader = await queue.reader("g")
    await queue.append([make("1", key="k")])
    found = await read(reader, 1)
    await take_its_lanes(way, store)
    with pytest.raises(Fenced):
        await reader.ack(found)
    way.doors["renew"].set()
    again = await read(reader, 1)
    assert [each.message for each in again] == [each.message for each in found]
    await reader.ack(again)
    assert await queue.backlog("g") == 0
    await queue.close()


async def test_void_that_was_not_written_down_as_its_lane_was_lost_comes_again() -> None:
    way, store = Distance(), MemoryProgress(silent_ms_max=SILENT_MS)
    queue = ladder(way, store, Rung(MemoryQueue("t", lanes=3)))
    await queue.append([make("1", key="k")])
    with pytest.raises(Rejected):
        await queue.append([make("refused", key="k")])
    reader = await queue.reader("g")
    first = await read(reader, 1)
    way.doors["settle"] = asyncio.Event()
    acking = asyncio.create_task(reader.ack(first))
    await take_its_lanes(way, store)
    way.doors["settle"].set()
    with pytest.raises(Fenced):
        await acking
    way.doors["renew"].set()
    await queue.append([make("2", key="k")])
    found = await read(reader, 1)
    await reader.ack(found)  # a void waits until what is before it is settled
    found += await read(reader, 1)
    assert [each.message.body for each in found] == [b"1", b"2"]
    assert not any(FLAGGED in each.message.headers for each in found)
    await queue.close()


async def test_lane_that_cannot_be_given_back_gives_back_what_was_handed_out_of_it() -> None:
    way, store = Distance(), MemoryProgress(silent_ms_max=SILENT_MS)
    queue = ladder(way, store)
    reader = await queue.reader("g")
    await queue.append([make("1", key="k")])
    await read(reader, 1)
    way.errors["give_back"] = Unavailable("the store is away")
    await take_its_lanes(way, store)
    way.doors["renew"].set()
    assert [each.message.body for each in await read(reader, 1)] == [b"1"]
    await queue.close()


async def test_claim_whose_answer_came_after_its_lanes_were_lost_is_none() -> None:
    way, store = Distance(), MemoryProgress(silent_ms_max=SILENT_MS)
    queue = ladder(way, store)
    reader = await queue.reader("g")
    await queue.append([make("1", key="k")])
    way.doors["renew"], way.doors_back["claim"] = asyncio.Event(), asyncio.Event()
    reading = asyncio.create_task(read(reader, 1))
    other = await that_hears_nothing(store)
    assert await other.claim(range(384))
    way.doors["renew"].set()
    await asyncio.sleep(0.05)
    way.doors_back["claim"].set()
    for _ in range(4):
        await other.renew(Report())
        await asyncio.sleep(0.05)
    assert not reading.done()
    await other.leave()
    await reader.ack(await reading)
    assert await queue.backlog("g") == 0
    await queue.close()


async def test_rung_that_does_not_answer_does_not_silence_the_reader() -> None:
    way, store = Distance(), MemoryProgress(silent_ms_max=SILENT_MS)
    asked, never = asyncio.Event(), asyncio.Event()

    async def end(lane: str) -> int:
        asked.set()
        await never.wait()
        return 0

    rung = Rung(MemoryQueue("t", lanes=3))
    rung.end = end
    queue = ladder(way, store, rung)
    await queue.append([make("lost", key="k")])
    await queue.append([make("2", key="k")])
    reader = await queue.reader("g")
    reading = asyncio.create_task(reader.read(count_max=1, wait_ms=10_000))
    async with asyncio.timeout(10):
        await asked.wait()
        before = way.calls["renew"]
        while way.calls["renew"] < before + 3:
            await asyncio.sleep(0.02)
    reading.cancel()
    await queue.close()


async def test_message_that_was_waited_for_long_enough_is_handed_out_when_it_comes_late() -> None:
    primary, standby = Rung(MemoryQueue("t", lanes=3)), Rung(MemoryQueue("t", lanes=2))
    rungs = {"primary": primary, "standby": standby}
    queue = Ordered(Route(rungs), slot=Slot().take, progress=MemoryProgress(), rungs=rungs, hold_ms_max=300)
    primary.is_up = False
    await queue.append([make("1", key="k")])
    primary.is_up, standby.is_up = True, False
    await queue.append([make("2", key="k")])
    reader = await queue.reader("g")
    first = await read(reader, 1)
    await reader.ack(first)
    standby.is_up = True
    second = await read(reader, 1)
    assert [(each.message.body, each.message.headers[FLAGGED]) for each in (*first, *second)] == [
        (b"2", UNPROVED),
        (b"1", LATE),
    ]
    await queue.close()


async def test_rung_of_which_the_lanes_were_not_known_is_read_to_the_end_in_all_of_them() -> None:
    rung = Rung(MemoryQueue("t", lanes=5))
    queue = Ordered(Route({"primary": rung}), slot=Slot().take, progress=MemoryProgress(), rungs={"primary": rung})
    queue._lanes = 384  # not a multiple of its lanes
    await queue.append([make("lost", key="k")])
    await queue.append([make("2", key="k")])
    reader = await queue.reader("g")
    [found] = await reader.read(count_max=1, wait_ms=5_000)
    assert found.message.headers == {FLAGGED: ABSENT}
    await queue.close()


@pytest.mark.parametrize("hold_ms_max", [None, 200])
async def test_nothing_is_passed_over_unless_the_store_says_that_the_lane_is_still_claimed(
    hold_ms_max: int | None,
) -> None:
    """Another reader may have settled what this one takes for missing."""
    way = Distance()
    rungs: dict[str, Queue] = {
        "primary": Rung(MemoryQueue("t", lanes=3), tells_its_ends=hold_ms_max is None),
        "standby": MemoryQueue("t", lanes=2),
    }
    progress = DistantProgress(MemoryProgress(), way)
    queue = Ordered(Route(rungs), slot=Slot().take, progress=progress, rungs=rungs, hold_ms_max=hold_ms_max)
    reader = await queue.reader("g")
    for body in ("first", "lost", "after", "after"):
        await queue.append([make(body, key="k")])
    await reader.ack(await read(reader, 1))
    way.errors["settle"] = Unavailable("the store is away")
    assert not await reader.read(count_max=1, wait_ms=1_500)
    del way.errors["settle"]
    [found] = await read(reader, 1)
    assert found.message.headers[FLAGGED] == (UNPROVED if hold_ms_max else ABSENT)
    await queue.close()


class Farther:
    """A reader that has read one message more than it was asked for."""

    def __init__(self, given: Delivery, behind: Delivery) -> None:
        self._given, self._behind = [given], [behind]
        self.released: list[Delivery] = []

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        given, self._given = self._given, []
        await asyncio.sleep(0 if given else wait_ms / 1000)
        return given

    def take_behind(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        behind, self._behind = self._behind, []
        return behind

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        raise AssertionError("nothing was acknowledged")

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self.released += deliveries

    async def close(self) -> None:
        pass


async def test_what_goes_back_unseen_is_not_taken_for_something_that_is_nowhere() -> None:
    one, two = [
        Delivery(make("x", key="k", headers={SEQ: f"s.1 {seq} {seq - 1} 0"}), Position("1", seq, ("primary",)), None, 1)
        for seq in (1, 2)
    ]
    inner = Farther(one, two)
    reader = OrderedReader(inner, await MemoryProgress().join("g"), "g", rungs={})
    await reader.release(await read(reader, 1))
    assert inner.released == [one, two]
    assert {(each.stream, each.seq) for each in reader._gate.held(0)} == {("s.1", 1), ("s.1", 2)}
    await reader.close()


async def test_what_was_being_given_back_when_the_caller_gave_up_goes_back_all_the_same() -> None:
    class Stuck(Farther):
        calls = 0

        async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
            self.calls += 1
            await asyncio.sleep(3_600 if self.calls == 1 else 0)
            await super().release(deliveries, delay_ms=delay_ms)

    one, two = [Delivery(make("x"), Position("1", seq, ("primary",)), None, 1) for seq in (1, 2)]
    inner = Stuck(one, two)
    reader = OrderedReader(inner, await MemoryProgress().join("g"), "g", rungs={})
    found = await read(reader, 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.release(found), 0.05)
    async with asyncio.timeout(5):
        while inner.released != [one, two]:
            await asyncio.sleep(0.01)
    await reader.close()


async def test_what_is_given_back_was_not_read() -> None:
    """Whoever gets it next may end without a word."""
    store = MemoryProgress()
    queue = ladder(Distance(), store)
    reader = await queue.reader("g")
    for body in ("1", "2", "3"):
        await queue.append([make(body, key="k")])
    first, second, _ = await read(reader, 3)
    await reader.ack([first])
    [(place, end)] = reader._read_to.report().items()
    await reader.release([second], delay_ms=60_000)
    assert reader._read_to.report() == {place: end - 2}
    await queue.close()


async def test_whoever_claims_a_lane_that_was_lost_knows_what_is_on_its_way_back() -> None:
    store = MemoryProgress()
    queue = ladder(Distance(), store)
    reader = await queue.reader("g")
    await queue.append([make("1", key="k")])
    [found] = await read(reader, 1)
    lane = found.receipt.lane
    [part] = store._groups["g"].parts
    lane.is_doubted = True  # a handler heard that it is another reader's
    async with asyncio.timeout(10):
        while lane.number in store._groups["g"].owners:
            await asyncio.sleep(0)
    assert (found.receipt.stream.name, found.receipt.seq) in {(each.stream, each.seq) for each in part._report.held}
    await queue.close()


async def test_lane_that_nobody_asks_for_any_more_is_handed_out_again() -> None:
    store = MemoryProgress()
    queue = ladder(Distance(), store)
    reader = await queue.reader("g")
    await queue.append([make("1", key="k")])
    found = await read(reader, 1)
    lane = found[0].receipt.lane
    other = await store.join("g")
    assert not await other.claim([lane.number])
    async with asyncio.timeout(10):
        while not lane.is_closing:
            await asyncio.sleep(0.01)
    await other.leave()
    await reader.ack(found)
    await queue.append([make("2", key="k")])
    assert [each.message.body for each in await read(reader, 1)] == [b"2"]
    await queue.close()


async def test_lane_is_returned_once_the_others_were_told_what_was_released() -> None:
    """Whoever gets it must not take that for absent, while it is on its way through the engine."""
    way, store = Distance(), MemoryProgress()
    queue = ladder(way, store)
    reader = await queue.reader("g")
    await queue.append([make("1", key="k")])
    found = await read(reader, 1)
    lane, stream = found[0].receipt.lane, found[0].receipt.stream.name
    [part] = store._groups["g"].parts
    other = await store.join("g")
    assert not await other.claim([lane.number])
    way.doors["renew"] = asyncio.Event()
    calls = way.calls["renew"]
    async with asyncio.timeout(10):
        while way.calls["renew"] == calls:
            await asyncio.sleep(0.01)
        await reader.release(found, delay_ms=60_000)  # after the report that is on its way
        way.doors["renew"].set()
        while lane.claimed:
            await asyncio.sleep(0.01)
    assert (stream, 1) in {(each.stream, each.seq) for each in part._report.held}
    await other.leave()
    await queue.close()
