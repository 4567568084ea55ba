"""Spooled, Buffered and their pump: nothing is lost on the way, and refused messages are buried first."""

import asyncio

from evermq import MessageFactory, Queue
from evermq.adapters.memory import MemoryQueue
from evermq.ha.buffered import Buffered
from evermq.ha.pump import Pump
from evermq.ha.spooled import Spooled
from evermq.message import HOPS
from evermq.testing.faulty import Faulty

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
