"""Read: what is there comes, each to one reader, and nobody waits longer than needed."""

from __future__ import annotations

import asyncio

from evermq.port import Delivery, Reader
from evermq.testing.conformance.bench import Bench, bodies
from evermq.testing.conformance.chapter import Chapter

__all__ = ["read"]

read = Chapter("read")
_LONG_MS = 3_600_000  # longer than the time limit of a check


@read()
async def first_attempt_is_one(bench: Bench) -> None:
    """For every message."""
    await bench.append("a", "b", "c")
    assert [delivery.attempt for delivery in await bench.take(await bench.reader(), 3)] == [1, 1, 1]


@read()
async def delivery_has_the_position_of_its_append(bench: Bench) -> None:
    """Where the append reported an offset, and nothing moves messages on behind it."""
    messages = [bench.message("x", key=f"k{i}") for i in range(20)]
    positions = await bench.queue.append(messages)
    told = {message.id: position for message, position in zip(messages, positions, strict=True)}
    for delivery in await bench.take(await bench.reader(), 20):
        position = told[delivery.message.id]
        if position.offset is not None and not position.via:
            assert delivery.position == position


@read()
async def at_most_count_max_come(bench: Bench) -> None:
    """However many there are."""
    await bench.append(*map(str, range(30)))
    reader = await bench.reader()
    found: list[Delivery] = []
    while len(found) < 30:
        some = await reader.read(count_max=4, wait_ms=10_000)
        assert 1 <= len(some) <= 4
        found += some
    assert sorted(bodies(found)) == sorted(str(i).encode() for i in range(30))


@read()
async def small_reads_get_everything(bench: Bench) -> None:
    """One by one, from all lanes."""
    count = min(40, bench.subject.held_max)
    for i in range(count):
        await bench.append(str(i), key=f"k{i}")
    reader = await bench.reader()
    found = await bench.take(reader, count, count_max=1)
    assert len({delivery.message.id for delivery in found}) == count
    await bench.nothing_comes(reader)


@read()
async def nothing_comes_from_an_empty_queue(bench: Bench) -> None:
    """After the wait, or at once without one."""
    reader = await bench.reader()
    assert await reader.read(count_max=10, wait_ms=0) == []
    assert await reader.read(count_max=10, wait_ms=20) == []


@read()
async def read_does_not_wait_to_fill_up(bench: Bench) -> None:
    """One message is enough."""
    await bench.append("a")
    assert bodies(await (await bench.reader()).read(count_max=100, wait_ms=_LONG_MS)) == [b"a"]


@read()
async def waiting_read_wakes_on_append(bench: Bench) -> None:
    """At once."""
    reader = await bench.reader()
    for i in range(5):
        reading = asyncio.create_task(reader.read(count_max=100, wait_ms=_LONG_MS))
        await bench.pass_ms(5)
        await bench.append(str(i))
        found = await reading
        assert bodies(found) == [str(i).encode()]
        await reader.ack(found)


@read()
async def unacked_messages_are_handed_out_once(bench: Bench) -> None:
    """As long as the reader that has them is open."""
    await bench.append(*map(str, range(20)))
    first, second = await bench.reader(), await bench.reader()
    found = await bench.gather([first, second], 20)
    assert len({delivery.message.id for delivery in found}) == 20
    await bench.nothing_comes(first, second)


@read()
async def readers_of_a_group_share(bench: Bench) -> None:
    """Each message goes to one of them."""
    readers = [await bench.reader() for _ in range(3)]
    taken: list[Delivery] = []
    done = asyncio.Event()

    async def consume(reader: Reader) -> None:
        while not done.is_set():
            found = await reader.read(count_max=5, wait_ms=20)
            await reader.ack(found)
            taken.extend(found)
            if len(taken) >= 300:
                done.set()

    consumers = [asyncio.create_task(consume(reader)) for reader in readers]
    for i in range(30):
        await bench.append(*(f"{i}.{j}" for j in range(10)), key=f"k{i}")
    await asyncio.gather(*consumers)
    await bench.nothing_comes(*readers)
    assert len(taken) == len({delivery.message.id for delivery in taken}) == 300


@read()
async def cancelled_read_loses_nothing(bench: Bench) -> None:
    """What nobody was handed comes to the next reader, at whatever moment the read was given up."""
    seen: set[bytes] = set()
    for turn in range(12):
        reader = await bench.reader()
        reading = asyncio.create_task(reader.read(count_max=100, wait_ms=_LONG_MS))
        appending = asyncio.create_task(bench.append(str(turn)))
        for _ in range(turn):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        if not reading.cancelled():
            await reader.ack(reading.result())
            seen |= set(bodies(reading.result()))
        await appending
        await reader.close()
    last = await bench.reader()
    rest = bodies(await bench.take_acked(last, 12 - len(seen)))
    assert seen | set(rest) == {str(turn).encode() for turn in range(12)}


@read()
async def reader_reads_on_after_a_cancelled_read(bench: Bench) -> None:
    """The same one."""
    reader = await bench.reader()
    reading = asyncio.create_task(reader.read(count_max=100, wait_ms=_LONG_MS))
    await bench.pass_ms(5)
    reading.cancel()
    await asyncio.wait([reading])
    await bench.append("a")
    assert bodies(await bench.take(reader, 1)) == [b"a"]
