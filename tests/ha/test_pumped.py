"""Spooled, Buffered and their pump: nothing is lost on the way, and refused messages are buried first."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from evermq import Message, MessageFactory, Position, Queue
from evermq.adapters.memory import MemoryQueue
from evermq.errors import Denied, EvermqError, NoSuchTopic, Partial, Rejected, TooLarge, Unavailable
from evermq.ha import pump as pump_module
from evermq.ha.buffered import Buffered
from evermq.ha.failover import Failover
from evermq.ha.pump import Pump
from evermq.ha.spooled import Spooled
from evermq.message import HOPS
from evermq.numbers import SEQ
from evermq.testing.faulty import Fault, Faulty

make = MessageFactory()


async def bodies(queue: Queue, count: int) -> list[bytes]:
    reader = await queue.reader("g")
    found: list[bytes] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            deliveries = await reader.read(count_max=100, wait_ms=100)
            found += [delivery.message.body for delivery in deliveries]
            await reader.ack(deliveries)
    await reader.close()
    return found


async def test_spooled_message_is_acknowledged_locally_and_arrives_in_order() -> None:
    async with Spooled(local=MemoryQueue("t"), remote=MemoryQueue("t")) as queue:
        positions = await queue.append([make(b"%d" % i, key="k") for i in range(20)])
        assert {position.via for position in positions} == {("local",)}
        assert await bodies(queue, 20) == [b"%d" % i for i in range(20)]


async def test_pump_that_is_closed_while_it_carries_makes_no_double() -> None:
    local, target = MemoryQueue("t"), MemoryQueue("t")
    taken = asyncio.Event()

    class Slow(Faulty):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            positions = await super().append(messages)
            taken.set()
            await asyncio.sleep(0.05)
            return positions

    pump = Pump(local, Slow(target))
    pump.start()
    await local.append([make("a", key="k")])
    await taken.wait()
    await pump.close()
    assert (await local.backlog("pump"), await target.backlog("g")) == (0, 1)


async def test_pump_may_be_closed_once_more_while_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "_FINISH_MS_MAX", 1)
    source, target = MemoryQueue("s"), MemoryQueue("t")
    going, cancelled, ends = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def append(messages: Sequence[Message]) -> Sequence[Position]:
        try:
            going.set()
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await ends.wait()
        return []

    target.append = append  # type: ignore[method-assign]
    await source.append([make("x")])
    pump = Pump(source, target)
    pump.start()
    await going.wait()
    first = asyncio.ensure_future(pump.close())
    await cancelled.wait()
    monkeypatch.setattr(pump_module, "_FINISH_MS_MAX", 60_000)
    second = asyncio.ensure_future(pump.close())
    await asyncio.sleep(0)
    ends.set()
    await asyncio.gather(first, second)
    assert await source.backlog("pump") == 1


async def test_pump_that_waits_for_a_dead_target_closes_and_keeps_what_it_had() -> None:
    local, remote = MemoryQueue("t"), Faulty(MemoryQueue("t"))
    remote.hang()
    pump = Pump(local, remote)
    pump.start()
    await local.append([make("a")])
    await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        await pump.close()
    assert await local.backlog("pump") == 1


async def test_spooled_waits_for_a_remote_that_is_down() -> None:
    remote = Faulty(MemoryQueue("t"))
    remote.down()
    async with Spooled(local=MemoryQueue("t"), remote=remote) as queue:
        await queue.append([make("a", key="k"), make("b", key="k")])
        remote.up()
        assert await bodies(queue, 2) == [b"a", b"b"]


async def test_buffered_goes_local_while_the_remote_is_down_and_back() -> None:
    remote = Faulty(MemoryQueue("t"))
    local = MemoryQueue("t")
    async with Buffered(local=local, remote=remote) as queue:
        assert (await queue.append([make("1", key="k")]))[0].via == ("remote",)
        remote.down()
        assert (await queue.append([make("2", key="k")]))[0].via == ("local",)
        remote.up()
        assert await bodies(queue, 2) == [b"1", b"2"]
        async with asyncio.timeout(20):
            while await local.backlog("pump"):
                await asyncio.sleep(0.01)
        assert (await queue.append([make("3", key="k")]))[0].via == ("remote",)


async def test_pump_buries_what_the_target_refuses_and_carries_the_rest() -> None:
    source, target = MemoryQueue("s"), MemoryQueue("t", message_bytes_max=100)
    dead = MemoryQueue("dead")
    await source.append([make("a"), make(b"x" * 1000), make("b")])
    pump = Pump(source, target, dead=dead)
    pump.start()
    assert sorted(await bodies(target, 2)) == [b"a", b"b"]
    assert await bodies(dead, 1) == [b"x" * 1000]
    await pump.close()


async def test_message_carried_in_a_ring_is_buried() -> None:
    source, target, dead = MemoryQueue("s"), MemoryQueue("t"), MemoryQueue("dead")
    await source.append([make("a", headers={HOPS: "8"}), make("b")])
    pump = Pump(source, target, dead=dead)
    pump.start()
    assert await bodies(target, 1) == [b"b"]
    assert await bodies(dead, 1) == [b"a"]
    await pump.close()


async def test_message_that_fits_locally_and_not_remotely_is_refused_at_once() -> None:
    for kind in (Spooled, Buffered):
        queue = kind(local=MemoryQueue("t"), remote=MemoryQueue("t", message_bytes_max=1000))
        assert queue.traits.message_bytes_max < 1000
        with pytest.raises(TooLarge):
            await queue.append([make(b"x" * 1000)])


@pytest.mark.parametrize("is_numbered", [False, True])
async def test_nothing_is_sent_past_a_message_of_its_chain_when_the_target_is_asked_message_by_message(
    is_numbered: bool,
) -> None:
    source, target = MemoryQueue("s"), Faulty(MemoryQueue("t", lanes=1))
    for i in range(4):  # of one key, or of one stream, in which a number must not overtake another
        headers = {SEQ: f"stream.1 {i + 1} 0 0"} if is_numbered else {}
        await source.append([make(b"%d" % i, key=f"k{i}" if is_numbered else "k", headers=headers)])
    # The batch is refused, then its first half, then the first message is not taken.
    for fault in (Fault.REJECT, Fault.REJECT, Fault.REFUSE):
        target.next(fault)
    pump = Pump(source, target, dead=MemoryQueue("dead"))
    pump.start()
    assert await bodies(target, 4) == [b"0", b"1", b"2", b"3"]
    await pump.close()
    assert await target.backlog("g") == 0


class Answers(MemoryQueue):
    """Answers the first appends so."""

    def __init__(self, *answers: Exception) -> None:
        super().__init__("t", lanes=1)
        self.answers = list(answers)
        self.asked: list[list[bytes]] = []

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.asked.append([message.body for message in messages])
        if self.answers:
            raise self.answers.pop(0)
        return await super().append(messages)


async def test_what_landed_behind_a_message_of_its_key_that_did_not_is_sent_again_behind_it() -> None:
    source, landed = MemoryQueue("s", lanes=1), Position("0", 0)
    await source.append([make(body, key=key) for body, key in (("1", "k"), ("2", "k"), ("3", "l"))])
    target = Answers(Partial([Unavailable("no"), landed, landed]))
    pump = Pump(source, target)
    pump.start()
    assert await bodies(target, 2) == [b"1", b"2"]
    await pump.close()
    assert target.asked == [[b"1", b"2", b"3"], [b"1"], [b"2"]]
    assert await source.backlog("pump") == 0


@pytest.mark.parametrize("is_taken", [False, True])
async def test_what_landed_behind_a_message_that_is_refused_is_not_sent_with_each_try_of_that(is_taken: bool) -> None:
    source, landed, refused = MemoryQueue("s", lanes=1), Position("0", 0), Rejected("bad")
    await source.append([make(body, key="k") for body in "1234"])
    target = Answers(Partial([landed, refused, landed, refused]), *(Partial([refused, refused]) for _ in range(3)))
    target.answers += [] if is_taken else [Partial([refused, refused])]
    dead = Faulty(MemoryQueue("dead"))
    for _ in range(4):
        dead.next(Fault.REFUSE)
    pump = Pump(source, target, dead=dead)
    pump.start()
    try:
        async with asyncio.timeout(20):
            while await source.backlog("pump"):
                await asyncio.sleep(0.01)
    finally:
        await pump.close()
    whole, tries = [b"1", b"2", b"3", b"4"], [[b"2", b"4"]] * 4
    assert target.asked == [whole, *tries, *([[b"3", b"4"]] if is_taken else [])]
    assert await dead.backlog("g") == (0 if is_taken else 2)


@pytest.mark.parametrize("kind", [Denied, NoSuchTopic])
async def test_target_that_may_not_be_used_refuses_no_message(kind: type[EvermqError]) -> None:
    """It would all be among the dead letters by the time somebody has mended it."""
    source, dead = MemoryQueue("s", lanes=1), MemoryQueue("dead")
    await source.append([make("1", key="k"), make("2", key="k")])
    target = Answers(kind("no right"), kind("no right"), Partial([kind("no right")] * 2))
    pump = Pump(source, target, dead=dead)
    pump.start()
    assert await bodies(target, 2) == [b"1", b"2"]
    await pump.close()
    assert await dead.backlog("g") == 0
    assert pump.counts.dead == 0


async def test_message_is_among_the_dead_letters_once_however_often_its_void_is_sent() -> None:
    source, dead = MemoryQueue("s", lanes=1), MemoryQueue("dead")
    await source.append([make("refused", key="k", id="a")])
    refused, away = Rejected("for ever"), Unavailable("no")
    target = Answers(refused, away, refused, away, refused)
    pump = Pump(source, target, dead=dead, void_of=lambda message: message._replace(body=b"void"))
    pump.start()
    assert await bodies(target, 1) == [b"void"]
    async with asyncio.timeout(10):
        while await source.backlog("pump"):
            await asyncio.sleep(0.01)
    assert (await dead.backlog("g"), pump.counts.dead) == (1, 1)
    # The same message may be refused once more, when it is sent again.
    target.answers = [refused]
    await source.append([make("refused", key="k", id="a")])
    async with asyncio.timeout(10):
        while await dead.backlog("g") < 2:
            await asyncio.sleep(0.01)
    await pump.close()


async def test_pump_outlives_errors_that_nobody_listed() -> None:
    class Moody(MemoryQueue):
        bad = 2

        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            self.bad -= 1
            if self.bad >= 0:
                raise ValueError("a driver's own error")
            return await super().append(messages)

    source, target = MemoryQueue("s"), Moody("t")
    await source.append([make("a")])
    pump = Pump(source, target)
    pump.start()
    assert await bodies(target, 1) == [b"a"]
    await pump.close()
    assert pump.counts.uncertain == 2


async def test_pump_keeps_to_the_batches_that_its_target_takes() -> None:
    class Small(MemoryQueue):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.sizes: list[int] = []
            self.traits = replace(self.traits, batch_count_max=3)

        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            self.sizes.append(len(messages))
            return await super().append(messages)

    target = Small("t")
    async with Spooled(local=MemoryQueue("t"), remote=target) as queue:
        await queue.append([make("x") for _ in range(10)])
        await bodies(queue, 10)
    assert max(target.sizes) <= 3


async def test_spooled_starts_while_its_local_queue_is_away() -> None:
    local = Faulty(MemoryQueue("t"))
    local.down()
    async with Spooled(local=local, remote=MemoryQueue("t")) as queue:
        local.up()
        await queue.append([make("a")])
        assert await bodies(queue, 1) == [b"a"]


async def test_buffered_that_cannot_ask_its_local_queue_keeps_its_order_or_its_service() -> None:
    local, remote = Faulty(MemoryQueue("t")), MemoryQueue("t")
    strict = Buffered(local=local, remote=remote)
    local.down()
    with pytest.raises(Unavailable):
        await strict.append([make("a", key="k")])
    loose = Buffered(local=local, remote=Failover(primary=MemoryQueue("t"), standby=MemoryQueue("t")))
    assert (await loose.append([make("a", key="k")]))[0].via == ("remote", "primary")


async def test_delivery_of_a_spool_names_the_remote_queue() -> None:
    async with Spooled(local=MemoryQueue("t"), remote=MemoryQueue("t")) as queue:
        await queue.append([make("a")])
        reader = await queue.reader("g")
        [delivery] = await reader.read(count_max=1, wait_ms=10_000)
        assert delivery.position.via == ("remote",)


async def test_what_the_dead_letters_refuse_too_is_counted_as_stuck_and_kept() -> None:
    source, target = MemoryQueue("s"), MemoryQueue("t", message_bytes_max=100)
    await source.append([make(b"x" * 1000)])
    pump = Pump(source, target, dead=MemoryQueue("dead", message_bytes_max=100))
    pump.start()
    async with asyncio.timeout(20):
        while not pump.counts.stuck:
            await asyncio.sleep(0.01)
    await pump.close()
    assert await source.backlog("pump") == 1


async def test_pump_cuts_its_batches_as_the_target_wants_them_by_now() -> None:
    """A target that joins late tells its limits late."""

    class Counted(MemoryQueue):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            sizes.append(len(messages))
            return await super().append(messages)

    sizes: list[int] = []
    local, target = MemoryQueue("t", lanes=1), Counted("t")
    pump = Pump(local, target)
    target.traits = replace(target.traits, batch_count_max=7)
    await local.append([make(b"x", key="k") for _ in range(20)])
    pump.start()
    await bodies(target, 20)
    await pump.close()
    assert max(sizes) <= 7
