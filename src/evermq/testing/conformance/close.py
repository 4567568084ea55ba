"""Close: what was held is given back, and what comes after is refused."""

from __future__ import annotations

import asyncio

from evermq.errors import Closed
from evermq.testing.conformance.bench import Bench, bodies, raised
from evermq.testing.conformance.chapter import Chapter

__all__ = ["close"]

close = Chapter("close")


@close()
async def closed_reader_gives_back_at_once(bench: Bench) -> None:
    """To one that waits already, as the next attempt."""
    first, second = await bench.reader(), await bench.reader()
    await bench.append("a", key="k")
    assert bodies(await first.read(count_max=9, wait_ms=10_000)) == [b"a"]
    reading = asyncio.create_task(second.read(count_max=9, wait_ms=3_600_000))
    await bench.pass_ms(5)
    await first.close()
    [delivery] = await reading
    assert (delivery.message.body, delivery.attempt) == (b"a", 2)


@close()
async def closed_reader_refuses(bench: Bench) -> None:
    """Read, ack and release."""
    await bench.append("a")
    reader = await bench.reader()
    found = await bench.take(reader, 1)
    await reader.close()
    await raised(Closed, reader.read(count_max=1, wait_ms=0))
    await raised(Closed, reader.ack(found))
    await raised(Closed, reader.release(found))
    assert bodies(await bench.take(await bench.reader(), 1)) == [b"a"]


@close()
async def reader_closes_twice(bench: Bench) -> None:
    """And gives back once."""
    await bench.append("a")
    reader = await bench.reader()
    await bench.take(reader, 1)
    await reader.close()
    await reader.close()
    last = await bench.reader()
    await bench.take(last, 1)
    await reader.close()
    await bench.nothing_comes(last)


@close()
async def released_stays_released_when_its_reader_goes(bench: Bench) -> None:
    """The delay holds."""
    await bench.append("a")
    reader = await bench.reader()
    before_ms = bench.now_ms()
    await reader.release(await bench.take(reader, 1), delay_ms=250)
    await reader.close()
    [delivery] = await bench.take(await bench.reader(), 1)
    assert bench.now_ms() - before_ms >= 249
    assert delivery.attempt == 2


@close()
async def closed_queue_refuses(bench: Bench) -> None:
    """Append, reader and backlog; again is harmless."""
    reader = await bench.reader()
    await bench.queue.close()
    await bench.queue.close()
    await raised(Closed, bench.queue.append([bench.message("a")]))
    await raised(Closed, bench.queue.reader(bench.group))
    await raised(Closed, bench.queue.backlog(bench.group))
    await raised(Closed, reader.read(count_max=1, wait_ms=0))


@close()
async def closing_the_queue_ends_a_waiting_read(bench: Bench) -> None:
    """With Closed, or empty-handed."""
    reader = await bench.reader()
    reading = asyncio.create_task(reader.read(count_max=1, wait_ms=3_600_000))
    await bench.pass_ms(5)
    await bench.queue.close()
    await asyncio.wait([reading])
    assert isinstance(reading.exception(), Closed) or reading.result() == []
