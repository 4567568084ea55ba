"""Consumer: what says nothing of a message is held against none, and what is another reader's is left to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Backoff, Consumer
from evermq.errors import Fenced, Misconfigured, Overloaded, Partial, Rejected, Unavailable, Uncertain
from evermq.ha.route import Route
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery
from evermq.position import Position
from evermq.progress.memory import MemoryPart, MemoryProgress

QUICK = Backoff(first_ms=1, max_ms=5)
make = MessageFactory()


async def settled(queue: MemoryQueue | Ordered) -> None:
    async with asyncio.timeout(20):
        while await queue.backlog("g"):
            await asyncio.sleep(0.001)


PASSING = [
    Unavailable("away"),
    Overloaded("full"),
    Fenced("of a queue of its own"),
    Uncertain("no answer"),
    Misconfigured("AUTOCOMMIT"),
    Partial([Position("0", 0), Unavailable("away")]),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
async def test_outage_of_what_a_handler_needs_buries_nothing_and_keeps_the_order(error: Exception) -> None:
    queue, dead, tried, handled = MemoryQueue("t"), MemoryQueue("dead"), [], []
    await queue.append([make(f"{number}", key="k") for number in range(3)])

    async def handle(delivery: Delivery) -> None:
        tried.append(delivery.message.body)
        if len(tried) <= 20:
            raise error
        handled.append(delivery.message.body)

    async with Consumer(queue, "g", handle, attempts_max=2, backoff=QUICK, dead=dead) as consumer:
        await settled(queue)
    assert tried[:21] == [b"0"] * 21
    assert handled == [b"0", b"1", b"2"]
    assert (consumer.progress.dead, consumer.progress.retried, consumer.progress.released) == (0, 20, 0)


BLAMED = [ValueError("it"), Partial([Unavailable("away"), Rejected("it")]), TimeoutError()]


@pytest.mark.parametrize("error", BLAMED, ids=lambda error: type(error).__name__)
async def test_attempts_in_between_count_as_ever(error: Exception) -> None:
    queue, dead, tried = MemoryQueue("t"), MemoryQueue("dead"), 0
    await queue.append([make("0", key="k")])

    async def handle(delivery: Delivery) -> None:
        nonlocal tried
        tried += 1
        raise Unavailable("away") if tried % 3 else error

    async with Consumer(queue, "g", handle, attempts_max=4, backoff=QUICK, dead=dead) as consumer:
        await settled(queue)
    (letter,) = await (await dead.reader("ops")).read(count_max=2, wait_ms=0)
    assert letter.message.headers["evermq-dead-attempts"] == "4"
    assert (tried, consumer.progress.dead) == (12, 1)


class Slot:
    """A slot in memory."""

    incarnation, is_empty, is_named = 1, True, False

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.cells = bytearray(1 << 20)

    def memory(self, size_bytes: int) -> memoryview:
        return memoryview(self.cells)[:size_bytes]


class Setting:
    """Two consumers of a queue in order. The first one has messages of a key, and stands still at the first of them."""

    def __init__(self) -> None:
        self.progress, self.rung, self.dead = MemoryProgress(), MemoryQueue("t"), MemoryQueue("dead")
        self.queues = [self.queue(name) for name in ("one", "two")]
        self.begun: tuple[list[bytes], list[bytes]] = ([], [])
        self.errors: list[BaseException] = []
        self.go = asyncio.Event()

    def queue(self, name: str) -> Ordered:
        slot, rungs = Slot(name), {"primary": self.rung}

        async def take() -> Slot:
            return slot

        return Ordered(Route(rungs), progress=self.progress, slot=take, rungs=rungs)

    def consumer(self, number: int, work: Callable[[Delivery], object]) -> Consumer:
        async def handle(delivery: Delivery) -> None:
            self.begun[number].append(delivery.message.body)
            if not number:
                await self.go.wait()
            work(delivery)

        options = {"backoff": QUICK, "dead": self.dead, "on_error": self.errors.append}
        return Consumer(self.queues[number], "g", handle, **options)  # type: ignore[arg-type]

    def take_over(self, other: Consumer) -> None:
        """All lanes are the other one's, and the first one has not heard of that."""
        group, reader = self.progress._groups["g"], other._reader.current
        assert isinstance(reader, OrderedReader)
        assert isinstance(reader._part, MemoryPart)
        group.owners = dict.fromkeys(group.owners, reader._part)


@pytest.mark.parametrize("is_hidden", [False, True], ids=["fenced", "hidden"])
async def test_message_whose_lane_is_another_readers_is_left_to_it(is_hidden: bool) -> None:
    setting = Setting()
    await setting.queues[0].append([make(f"{number}", key="k") for number in range(3)])
    await setting.rung.append([make("foreign", key="k")])

    effects: list[bytes] = []

    def take_effect(delivery: Delivery) -> None:
        if setting.progress.settle(delivery):
            effects.append(delivery.message.body)

    def settle(delivery: Delivery) -> None:
        try:
            take_effect(delivery)
        except Fenced as error:
            if is_hidden:
                raise ValueError("rolled back") from error
            raise

    one, two = setting.consumer(0, settle), setting.consumer(1, take_effect)
    async with one:
        while one._window.count < 4:
            await asyncio.sleep(0.001)
        async with two:
            setting.take_over(two)
            setting.go.set()
            await settled(setting.rung)
        assert one._window.count == 0
    assert [each for each in effects if each != b"foreign"] == [b"0", b"1", b"2"]
    # The lane may come back to the first one: then with all of it.
    assert [each for each in setting.begun[0] if each != b"foreign"][:2] in ([b"0"], [b"0", b"0"])
    assert (one.progress.dead, one.progress.retried) == (0, 0)
    assert {type(each) for each in setting.errors} == {ValueError if is_hidden else Fenced}
    for queue in setting.queues:
        await queue.close()


async def test_messages_of_other_producers_go_back_with_one_of_their_key() -> None:
    setting = Setting()
    handled: list[bytes] = []
    await setting.queues[0].append([make("0", key="k")])

    async def handle(delivery: Delivery) -> None:
        if delivery.message.body == b"0" and not setting.errors:
            await setting.queues[1].append([make("another", key="k")])
            while consumer._window.count < 2:
                await asyncio.sleep(0.001)
            raise ValueError("it")
        handled.append(delivery.message.body)

    options = {"attempts_max": 1, "backoff": QUICK, "on_error": setting.errors.append}
    async with Consumer(setting.queues[0], "g", handle, **options) as consumer:  # type: ignore[arg-type]
        await settled(setting.rung)
    assert sorted(handled) == [b"0", b"another"]
    for queue in setting.queues:
        await queue.close()


async def test_what_is_read_while_its_key_goes_back_goes_back_too_however_often_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = Setting()
    handled: list[bytes] = []
    refused = [Unavailable("the queue is away"), Unavailable("and again")]
    await setting.queues[0].append([make("0", key="k")])

    async def handle(delivery: Delivery) -> None:
        if delivery.message.body == b"0" and not setting.errors:
            raise ValueError("it")
        handled.append(delivery.message.body)

    options = {"attempts_max": 1, "backoff": QUICK, "on_error": setting.errors.append}
    consumer = Consumer(setting.queues[0], "g", handle, **options)  # type: ignore[arg-type]
    release = consumer.release

    async def read_then_fail(*deliveries: Delivery, delay_ms: int = 0) -> None:
        if deliveries[0].message.body == b"another" and refused:
            raise refused.pop()
        if len(refused) == 2:
            await setting.queues[1].append([make("another", key="k")])
            while consumer._window.count < 2:
                await asyncio.sleep(0.001)
        await release(*deliveries, delay_ms=delay_ms)

    monkeypatch.setattr(consumer, "release", read_then_fail)
    async with consumer:
        await settled(setting.rung)
    assert set(handled) == {b"0", b"another"}
    assert [type(each) for each in setting.errors[:2]] == [ValueError, Unavailable]
    for queue in setting.queues:
        await queue.close()
