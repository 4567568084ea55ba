"""Order and no doubles, beyond conformance: holds, proofs of absence, voids, foreign messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from evermq.adapters.log.place import LogPlace
from evermq.adapters.memory import MemoryQueue
from evermq.client.producer import Producer
from evermq.errors import Partial, Rejected, Unavailable, Uncertain, Unsupported
from evermq.ha.route import Route
from evermq.message import Message, MessageFactory
from evermq.numbers import FLAGGED, RESET, SEQ, VOID
from evermq.policy.gate import ABSENT, UNPROVED
from evermq.policy.ordered import Ordered
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position
from evermq.progress.memory import MemoryProgress
from evermq.traits import Traits

make = MessageFactory()


class Rung:
    """A queue that loses, after it has acknowledged them, messages with the body `lost`, and refuses `refused`."""

    def __init__(self, queue: Queue, *, tells_its_ends: bool = True) -> None:
        self._queue = queue
        self.is_up = True
        if tells_its_ends:
            self.end = queue.end  # type: ignore[attr-defined]

    @property
    def name(self) -> str:
        return self._queue.name

    @property
    def traits(self) -> Traits:
        return self._queue.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        if not self.is_up:
            raise Unavailable("down")
        refused = [message.body == b"refused" for message in messages]
        kept = [message for message in messages if message.body not in (b"lost", b"refused")]
        places = iter(await self._queue.append(kept) if kept else ())
        lost = Position("0", 0)
        outcomes: list[Position | Rejected] = [
            Rejected("never") if no else lost if message.body == b"lost" else next(places)
            for no, message in zip(refused, messages, strict=True)
        ]
        if any(refused):
            raise Partial(outcomes)
        return [each for each in outcomes if isinstance(each, Position)]

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        if not self.is_up:
            raise Unavailable("down")
        return await self._queue.reader(group, start=start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._queue.backlog(group, lane)

    async def close(self) -> None:
        await self._queue.close()


class Lent:
    """Takes messages, says that they landed, and leaves it to the test to store them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.messages += messages
        return [Position("0", 0)] * len(messages)


class Slot:
    """In memory."""

    name, incarnation, is_empty, is_named = "slot", 1, True, False

    def __init__(self) -> None:
        self._cells = bytearray(1 << 21)

    async def take(self) -> Slot:
        return self

    def memory(self, size_bytes: int) -> memoryview:
        return memoryview(self._cells)[:size_bytes]


def ordered(primary: Queue, standby: Queue, *, hold_ms_max: int | None = None, slot: Slot | None = None) -> Ordered:
    rungs = {"primary": primary, "standby": standby}
    take = (slot or Slot()).take
    return Ordered(Route(rungs), slot=take, progress=MemoryProgress(), rungs=rungs, hold_ms_max=hold_ms_max)


@pytest.fixture(params=["memory", "log"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Queue]]:
    if request.param == "memory":
        yield [MemoryQueue("t", lanes=3), MemoryQueue("t", lanes=2)]
        return
    places = [await LogPlace.open(tmp_path / name, segment_bytes=4 << 20) for name in ("a", "b")]
    yield [await place.queue("t") for place in places]
    for place in places:
        await place.close()


async def read_all(queue: Ordered, group: str, count: int) -> list[Delivery]:
    reader = await queue.reader(group)
    found: list[Delivery] = []
    while len(found) < count:
        some = await reader.read(count_max=10, wait_ms=5_000)
        assert some, f"only {len(found)} of {count}"
        await reader.ack(some)
        found += some
    await reader.close()
    return found


async def send(queue: Ordered, *bodies: str, key: str | None = "k") -> None:
    for body in bodies:
        await queue.append([make(body, key=key)])


async def test_message_behind_one_that_is_nowhere_goes_on_flagged(two: list[Queue]) -> None:
    queue = ordered(Rung(two[0]), Rung(two[1]))
    await send(queue, "1", "lost", "2", "3")
    found = await read_all(queue, "g", 3)
    assert [each.message.body for each in found] == [b"1", b"2", b"3"]
    assert [each.message.headers.get(FLAGGED) for each in found] == [None, ABSENT, None]
    assert await queue.backlog("g") == 0
    await queue.close()


async def test_rung_that_tells_no_ends_proves_nothing_and_the_bound_lets_go() -> None:
    rungs = [Rung(MemoryQueue("t"), tells_its_ends=False) for _ in range(2)]
    queue = ordered(*rungs, hold_ms_max=700)
    await send(queue, "lost", "2")
    found = await read_all(queue, "g", 1)
    assert found[0].message.headers[FLAGGED] == UNPROVED
    await queue.close()


async def test_bound_lets_go_of_what_waits_for_nothing_that_is_here() -> None:
    """3 came first and waits for 2, which is here by now as well: it does not go before it."""
    primary, standby = (Rung(MemoryQueue("t"), tells_its_ends=False) for _ in range(2))
    queue = ordered(primary, standby, hold_ms_max=700)
    await send(queue, "0", "lost")
    lent = Lent()
    assert queue.flights
    queue.flights._append = lent.append
    await send(queue, "2", "3")
    reader = await queue.reader("g")
    await reader.ack(await reader.read(count_max=10, wait_ms=5_000))
    await standby.append(lent.messages[1:])
    assert not await reader.read(count_max=10, wait_ms=100)
    await primary.append(lent.messages[:1])
    found: list[Delivery] = []
    while len(found) < 2:
        found += await reader.read(count_max=10, wait_ms=5_000)
    assert [each.message.body for each in found] == [b"2", b"3"]
    assert [each.message.headers.get(FLAGGED) for each in found] == [UNPROVED, None]
    await queue.close()


async def test_message_waits_for_the_one_before_it_on_another_rung(two: list[Queue]) -> None:
    primary, standby = Rung(two[0]), Rung(two[1])
    queue = ordered(primary, standby)
    await send(queue, "1")
    primary.is_up = False
    await send(queue, "2", "3")
    primary.is_up = True
    await send(queue, "4", "5")
    found = await read_all(queue, "g", 5)
    assert [each.message.body for each in found] == [b"1", b"2", b"3", b"4", b"5"]
    assert {each.position.via for each in found} == {("primary",), ("standby",)}
    await queue.close()


async def test_refused_message_leaves_a_void_and_stops_nobody() -> None:
    inner = MemoryQueue("t")
    queue = ordered(Rung(inner), Rung(MemoryQueue("t")))
    await (await inner.reader("raw")).close()
    await send(queue, "1")
    with pytest.raises(Rejected):
        await send(queue, "refused")
    await send(queue, "2")
    assert [each.message.body for each in await read_all(queue, "g", 2)] == [b"1", b"2"]
    raw = await (await inner.reader("raw")).read(count_max=10, wait_ms=100)
    assert [VOID in each.message.headers for each in raw] == [False, True, False]
    await queue.close()


async def test_message_without_a_key_has_none_again_and_waits_for_nobody() -> None:
    queue = ordered(Rung(MemoryQueue("t")), Rung(MemoryQueue("t")))
    await send(queue, "1", "lost", "2", key=None)
    found = await read_all(queue, "g", 2)
    assert {each.message.body for each in found} == {b"1", b"2"}
    assert not [each for each in found if each.message.key is not None or each.message.headers]
    await queue.close()


async def test_foreign_message_is_handed_out_as_it_comes() -> None:
    inner = MemoryQueue("t")
    queue = ordered(Rung(inner), Rung(MemoryQueue("t")))
    await inner.append([make("a", key="k"), make("b", key="k", headers={SEQ: "no number"})])
    found = await read_all(queue, "g", 2)
    assert [each.message.body for each in found] == [b"a", b"b"]
    await queue.close()


async def test_delayed_message_is_refused() -> None:
    queue = ordered(MemoryQueue("t"), MemoryQueue("t"))
    with pytest.raises(Unsupported):
        await queue.append([make("x", delay_ms=1)])
    await queue.close()


async def test_message_that_is_sent_again_while_it_is_under_way_is_the_same_one() -> None:
    door = asyncio.Event()

    class Slow(Rung):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            await door.wait()
            return await super().append(messages)

    inner = MemoryQueue("t")
    rungs: dict[str, Queue] = {"primary": Slow(inner), "standby": MemoryQueue("t")}
    queue = Ordered(
        Route({"primary": rungs["primary"]}, append_ms_max=60_000),
        slot=Slot().take,
        progress=MemoryProgress(),
        rungs=rungs,
        append_ms_max=50,
    )
    first, second = make("1", key="k"), make("2", key="k")
    with pytest.raises(Uncertain):
        await queue.append([first])
    with pytest.raises(Partial) as told:
        await queue.append([first, second])
    assert [type(outcome) for outcome in told.value.outcomes] == [Uncertain, Unavailable]
    again = asyncio.create_task(queue.append([first]))
    await asyncio.sleep(0)
    door.set()
    assert [position.via for position in await again] == [("primary",)]
    assert [position.via for position in await queue.append([first, second])] == [("primary",)] * 2
    assert [each.message.body for each in await read_all(queue, "g", 2)] == [b"1", b"2"]
    assert await inner.backlog("g") == 0
    await queue.close()


async def test_append_that_was_cancelled_and_is_sent_again_is_the_same_message() -> None:
    door = asyncio.Event()

    class Slow(Rung):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            await door.wait()
            return await super().append(messages)

    inner = MemoryQueue("t")
    rungs: dict[str, Queue] = {"primary": Slow(inner), "standby": MemoryQueue("t")}
    route = Route({"primary": rungs["primary"]}, append_ms_max=60_000)
    queue = Ordered(route, slot=Slot().take, progress=MemoryProgress(), rungs=rungs)
    first, second = make("1", key="k"), make("2", key="k")
    tasks = [asyncio.create_task(queue.append([message])) for message in (first, second)]
    while queue.flights is None or queue.flights.is_idle:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks:  # one is on its way, the other waits behind it
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    again = [asyncio.create_task(queue.append([message])) for message in (first, second)]
    await asyncio.sleep(0)
    door.set()
    await asyncio.gather(*again)
    assert [each.message.body for each in await read_all(queue, "g", 2)] == [b"1", b"2"]
    assert await queue.backlog("g") == 0
    assert queue.flights.numbering._next[queue.flights.numbering.places([first])[0][0]] == 3
    await queue.close()


async def test_producer_that_retries_makes_no_double() -> None:
    inner = MemoryQueue("t")

    class Slow(Rung):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            await asyncio.sleep(0.2)
            return await super().append(messages)

    rungs: dict[str, Queue] = {"primary": Slow(inner)}
    queue = Ordered(
        Route(rungs, append_ms_max=60_000),
        slot=Slot().take,
        progress=MemoryProgress(),
        rungs=rungs,
        append_ms_max=50,
    )
    async with Producer(queue, retry_ms_max=10_000) as producer:
        await producer.send_many([make(f"{n}", key=f"k{n % 3}") for n in range(20)])
    assert len(await read_all(queue, "g", 20)) == 20
    assert await inner.backlog("g") == 0
    await queue.close()


@pytest.mark.parametrize("is_named", [True, False])
async def test_what_a_producer_sends_first_after_its_counters_were_reset_is_handed_out_flagged(is_named: bool) -> None:
    """What it sent before may still stand unread on another rung, and nothing holds it back for that."""
    primary, standby, slot = MemoryQueue("t", lanes=3), MemoryQueue("t", lanes=2), Slot()
    slot.incarnation, slot.is_named = 2, is_named
    queue = ordered(primary, standby, slot=slot)
    await queue.append([make("1", key="k"), make("2", key="k")])
    found = await read_all(queue, "g", 2)
    why = {FLAGGED: RESET} if is_named else {}
    assert [(each.message.body, each.message.headers) for each in found] == [(b"1", why), (b"2", {})]
    await queue.close()
