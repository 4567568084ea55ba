"""Release: it comes again, later, and takes its key with it."""

from __future__ import annotations

import asyncio

from evermq.errors import Rejected
from evermq.port import Delivery, Reader
from evermq.testing.conformance.bench import Bench, bodies, raised
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["release"]

release = Chapter("release")


async def _key(bench: Bench, reader: Reader, *texts: str) -> dict[str, Delivery]:
    """Deliveries of messages of one key, by their bodies."""
    await bench.append(*texts, key="k")
    found = await bench.take(reader, len(texts))
    return {delivery.message.body.decode(): delivery for delivery in found}


@release()
async def released_message_comes_again(bench: Bench) -> None:
    """As attempt 2, then 3."""
    await bench.append("a")
    reader = await bench.reader()
    for attempt in (1, 2, 3, 4):
        [delivery] = await bench.take(reader, 1)
        assert (delivery.message.body, delivery.attempt) == (b"a", attempt)
        await reader.release([delivery])
    await reader.ack(await bench.take(reader, 1))
    await bench.nothing_comes(reader)


@release()
async def release_takes_parts_of_a_millisecond(bench: Bench) -> None:
    """Seconds times a thousand are seldom whole: what is written down of them is."""
    await bench.append("a")
    reader = await bench.reader()
    await reader.release(await bench.take(reader, 1), delay_ms=0.5)  # type: ignore[arg-type]
    [delivery] = await bench.take(reader, 1)
    assert delivery.attempt == 2
    await reader.release([delivery], delay_ms=-3)
    await reader.ack(await bench.take(reader, 1))
    await bench.nothing_comes(reader)


@release()
async def release_for_no_time_is_refused_and_changes_nothing(bench: Bench) -> None:
    """What is no number of milliseconds, or ages."""
    await bench.append("a")
    reader = await bench.reader()
    found = await bench.take(reader, 1)
    for delay in ("1", None, float("nan"), float("inf"), 10**30):
        error = await raised(Rejected, reader.release(found, delay_ms=delay))  # type: ignore[arg-type]
        assert "delay_ms" in str(error)
    await reader.ack(found)
    await bench.nothing_comes(reader)


@release()
async def released_message_goes_to_another_reader(bench: Bench) -> None:
    """When the one that had it is gone."""
    await bench.append("a")
    first = await bench.reader()
    await first.release(await bench.take(first, 1))
    await first.close()
    [delivery] = await bench.take(await bench.reader(), 1)
    assert (delivery.message.body, delivery.attempt) == (b"a", 2)


@release()
async def released_message_is_not_early(bench: Bench) -> None:
    """Not before its delay."""
    await bench.append("a")
    reader = await bench.reader()
    found = await bench.take(reader, 1)
    before_ms = bench.now_ms()
    await reader.release(found, delay_ms=250)
    assert bodies(await bench.take(reader, 1)) == [b"a"]
    assert bench.now_ms() - before_ms >= 249


@release()
async def waiting_read_wakes_when_the_delay_is_over(bench: Bench) -> None:
    """Without an append to wake it."""
    await bench.append("a")
    reader = await bench.reader()
    await reader.release(await bench.take(reader, 1), delay_ms=100)
    assert bodies(await reader.read(count_max=9, wait_ms=3_600_000)) == [b"a"]


@release(Need.SINGLE_ACK)
async def release_wakes_another_reader(bench: Bench) -> None:
    """One that waits already; then the message goes to one of the two."""
    first, second = await bench.reader(), await bench.reader()
    await bench.append("a")
    found = await first.read(count_max=9, wait_ms=10_000)
    reading = asyncio.create_task(second.read(count_max=9, wait_ms=3_600_000))
    await bench.pass_ms(5)
    await first.release(found)
    assert bodies(await reading) == [b"a"]


@release()
async def release_of_nothing_and_again_is_harmless(bench: Bench) -> None:
    """The message comes once for it."""
    await bench.append("a")
    reader = await bench.reader()
    found = await bench.take(reader, 1)
    await reader.release([])
    await reader.release(found)
    await reader.release(found)
    assert bodies(await bench.take(reader, 1)) == [b"a"]
    await bench.nothing_comes(reader)


@release(Need.SINGLE_ACK)
async def release_of_what_was_acked_is_ignored(bench: Bench) -> None:
    """Done is done."""
    await bench.append("a", key="k")
    reader = await bench.reader()
    found = await bench.take(reader, 1)
    await reader.ack(found)
    await reader.release(found)
    await bench.nothing_comes(reader)


@release(Need.ORDER)
async def released_batch_comes_in_order(bench: Bench) -> None:
    """Whatever the order in which it was released."""
    reader = await bench.reader()
    found = await _key(bench, reader, "1", "2", "3", "4")
    await reader.release([found["3"], found["1"], found["4"], found["2"]])
    assert bodies(await bench.take(reader, 4)) == [b"1", b"2", b"3", b"4"]


@release(Need.ORDER, Need.SINGLE_ACK)
async def what_is_behind_of_the_same_key_comes_again(bench: Bench) -> None:
    """And what is before it does not."""
    reader = await bench.reader()
    found = await _key(bench, reader, "1", "2", "3", "4")
    await reader.release([found["2"]])
    again = await bench.take(reader, 3)
    assert bodies(again) == [b"2", b"3", b"4"]
    assert [delivery.attempt for delivery in again] == [2, 2, 2]
    await reader.ack([found["1"]])
    await reader.ack(again)
    await bench.nothing_comes(reader)
    await bench.backlog_becomes(0)


@release(Need.ORDER, Need.SINGLE_ACK)
async def later_messages_of_the_key_wait_behind(bench: Bench) -> None:
    """Those that were never handed out."""
    reader = await bench.reader()
    found = await _key(bench, reader, "1")
    await reader.release([found["1"]], delay_ms=150)
    await bench.append("2", "3", key="k")
    again = await bench.take(reader, 3)
    assert bodies(again) == [b"1", b"2", b"3"]
    assert [delivery.attempt for delivery in again] == [2, 1, 1]


@release(Need.ORDER, Need.SINGLE_ACK)
async def other_keys_flow_past(bench: Bench) -> None:
    """In the same lane too."""
    reader = await bench.reader()
    found = await _key(bench, reader, "held")
    await reader.release([found["held"]], delay_ms=3_600_000)
    keys = [f"other {i}" for i in range(2 * bench.traits.lanes)]
    await bench.queue.append([bench.message(key, key=key) for key in keys])
    assert sorted(bodies(await bench.take_acked(reader, len(keys)))) == sorted(key.encode() for key in keys)
    await bench.nothing_comes(reader)
    await bench.backlog_becomes(1)


@release(Need.ORDER, Need.SINGLE_ACK)
async def messages_without_a_key_are_released_alone(bench: Bench) -> None:
    """They have no order to keep."""
    await bench.append(*map(str, range(5)))
    reader = await bench.reader()
    found = await bench.take(reader, 5)
    await reader.release(found[:1])
    assert bodies(await bench.take(reader, 1)) == bodies(found[:1])
    await bench.nothing_comes(reader)


@release(Need.ORDER, Need.SINGLE_ACK)
async def order_is_kept_whatever_is_released(bench: Bench) -> None:
    """Each key in order, when a message in three is released once before it is done."""
    await bench.queue.append([bench.message(f"{i}", key=f"k{i % 3}") for i in range(60)])
    reader = await bench.reader()
    done: list[int] = []
    while len(done) < 60:
        found = await reader.read(count_max=7, wait_ms=10_000)
        assert found, f"only {len(done)} of 60 messages came: {sorted(done)}"
        stopped: set[bytes | None] = set()
        for delivery in found:
            number, key = int(delivery.message.body), delivery.message.key
            if key in stopped:
                continue  # it came back with the one before it
            if number % 3 == number // 20 and delivery.attempt == 1:
                stopped.add(key)
                await reader.release([delivery])
            else:
                await reader.ack([delivery])
                done.append(number)
    for key_number in range(3):
        assert [n for n in done if n % 3 == key_number] == list(range(key_number, 60, 3))
