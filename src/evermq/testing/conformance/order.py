"""Order: messages of one key are handled one after the other, by however many readers."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from evermq.port import Delivery, Reader
from evermq.testing.conformance.bench import Bench, bodies
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["order"]

order = Chapter("order")


def _by_key(found: list[Delivery]) -> dict[bytes | None, list[int]]:
    numbers: dict[bytes | None, list[int]] = defaultdict(list)
    for delivery in found:
        numbers[delivery.message.key].append(int(delivery.message.body))
    return numbers


async def _append_rounds(bench: Bench, rounds: int, keys: int = 10) -> None:
    """One message a key in every round, a batch a round."""
    for number in range(rounds):
        await bench.queue.append([bench.message(str(number), key=f"k{key}") for key in range(keys)])


@order(Need.ORDER)
async def messages_of_a_key_come_in_order(bench: Bench) -> None:
    """Within a batch, and from batch to batch."""
    await _append_rounds(bench, 20)
    numbers = _by_key(await bench.take_acked(await bench.reader(), 200))
    assert all(each == list(range(20)) for each in numbers.values())
    assert len(numbers) == 10


@order(Need.ORDER)
async def small_reads_keep_the_order(bench: Bench) -> None:
    """One by one, acked late."""
    rounds = min(5, bench.subject.held_max // 10)
    await _append_rounds(bench, rounds)
    numbers = _by_key(await bench.take(await bench.reader(), 10 * rounds, count_max=1))
    assert all(each == list(range(rounds)) for each in numbers.values())


@order(Need.ORDER)
async def three_readers_keep_the_order(bench: Bench) -> None:
    """No message of a key is begun before the one ahead of it is done."""
    readers = [await bench.reader() for _ in range(3)]
    busy: set[bytes | None] = set()
    done: list[Delivery] = []

    async def consume(reader: Reader, pace: int) -> None:
        while len(done) < 200:
            found = await reader.read(count_max=pace, wait_ms=20)
            keys = {delivery.message.key for delivery in found}
            assert not keys & busy, f"{keys & busy} went to two readers at the same time"
            busy.update(keys)
            for _ in range(pace):
                await asyncio.sleep(0)
            done.extend(found)
            busy.difference_update(keys)
            await reader.ack(found)

    consumers = [asyncio.create_task(consume(reader, pace)) for reader, pace in zip(readers, (1, 3, 7), strict=True)]
    await _append_rounds(bench, 20)
    await asyncio.gather(*consumers)
    assert len(done) == 200
    assert all(each == list(range(20)) for each in _by_key(done).values())


@order(Need.ORDER)
async def key_stays_with_the_reader_that_has_it(bench: Bench) -> None:
    """Others get nothing of it until that is settled."""
    await bench.append("0", "1", key="k")
    first, second = await bench.reader(), await bench.reader()
    found = await first.read(count_max=1, wait_ms=10_000)
    assert bodies(found) == [b"0"]
    await bench.nothing_comes(second)
    await first.ack(found)
    assert bodies(await bench.gather([second, first], 1)) == [b"1"]


@order(Need.ORDER)
async def next_reader_begins_with_what_came_back(bench: Bench) -> None:
    """Before what was never handed out."""
    await bench.append(*map(str, range(6)), key="k")
    first = await bench.reader()
    taken: list[Delivery] = []
    while len(taken) < 3:
        some = await first.read(count_max=3 - len(taken), wait_ms=10_000)
        assert some, f"3 deliveries were due and {len(taken)} came"
        taken += some
    await first.close()
    found = await bench.take(await bench.reader(), 6)
    assert bodies(found) == [str(i).encode() for i in range(6)]
    attempts = [delivery.attempt for delivery in found]
    assert attempts == [2, 2, 2, 1, 1, 1] or (bench.subject.counts_fetched and attempts[:3] == [2, 2, 2])


@order(Need.ORDER)
async def order_survives_changes_of_readers(bench: Bench) -> None:
    """Each of ten readers handles a few and goes away with some unsettled."""
    await _append_rounds(bench, 10, keys=4)
    done: list[Delivery] = []
    for _ in range(10):
        reader = await bench.reader()
        found = await reader.read(count_max=8, wait_ms=10_000)
        half = {delivery.message.key for delivery in found[:4]}
        settled = [delivery for delivery in found if delivery.message.key in half][:3]
        await reader.ack(settled)
        done += settled
        await reader.close()
    done += await bench.take_acked(await bench.reader(), 40 - len(done))
    assert all(each == list(range(10)) for each in _by_key(done).values())


@order(Need.ORDER)
async def order_survives_reads_that_are_given_up(bench: Bench) -> None:
    """At whatever moment, and with their readers."""
    done: list[Delivery] = []
    for turn in range(12):
        reader = await bench.reader()
        reading = asyncio.create_task(reader.read(count_max=100, wait_ms=10_000))
        appending = asyncio.create_task(bench.append(str(turn), key="k"))
        for _ in range(turn):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading, appending])
        if not reading.cancelled():
            await reader.ack(reading.result())
            done += reading.result()
        await reader.close()
    done += await bench.take_acked(await bench.reader(), 12 - len(done))
    assert _by_key(done) == {b"k": list(range(12))}


@order(Need.ORDER, Need.LANES)
async def no_reader_starves(bench: Bench) -> None:
    """One that comes later gets its share, as soon as the first has settled what it had."""
    keys = 16 * bench.traits.lanes
    await _append_rounds(bench, 1, keys)
    first = await bench.reader()
    found = await bench.take(first, keys)
    second = await bench.reader()
    reading = asyncio.create_task(second.read(count_max=keys, wait_ms=10_000))
    await bench.pass_ms(5)
    await first.ack(found)
    await _append_rounds(bench, 1, keys)
    mine = await first.read(count_max=keys, wait_ms=0)
    theirs = await reading
    assert theirs, "the second reader was given nothing"
    assert len(mine) + len(theirs) <= keys


@order(Need.ORDER, Need.LANES)
async def one_slow_key_does_not_stop_all(bench: Bench) -> None:
    """While one reader sits on one message, another handles what is in other lanes."""
    first = await bench.reader()
    await bench.append("0", key="slow")
    held = await bench.take(first, 1)
    second = await bench.reader()
    keys = [f"k{i}" for i in range(8 * bench.traits.lanes)]
    await bench.queue.append([bench.message("1", key=key) for key in keys])
    assert await second.read(count_max=1, wait_ms=10_000)
    await first.ack(held)
