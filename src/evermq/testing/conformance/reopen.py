"""Reopen: a queue that is opened again knows what it knew."""

from __future__ import annotations

from evermq.testing.conformance.bench import Bench, bodies
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["reopen"]

reopen = Chapter("reopen")


@reopen(Need.REOPEN)
async def appended_messages_are_there_again(bench: Bench) -> None:
    """In order, with all that is in them."""
    count = min(50, bench.subject.held_max)
    messages = [bench.message(f"{i:02}", key="k", headers={"n": str(i)}) for i in range(count)]
    await bench.queue.append(messages)
    await bench.reopen()
    found = await bench.take(await bench.reader(), count)
    assert bench.in_order(found) == [message.body for message in messages]
    assert sorted(delivery.message for delivery in found) == sorted(messages)


@reopen(Need.REOPEN)
async def acked_messages_stay_acked(bench: Bench) -> None:
    """And what is appended then comes alone."""
    await bench.append(*map(str, range(20)))
    await bench.take_acked(await bench.reader(), 20)
    await bench.reopen()
    reader = await bench.reader()
    await bench.nothing_comes(reader)
    await bench.backlog_becomes(0)
    await bench.append("new")
    assert bodies(await bench.take(reader, 1)) == [b"new"]


@reopen(Need.REOPEN, Need.SINGLE_ACK)
async def single_acks_are_remembered(bench: Bench) -> None:
    """With the gaps between them."""
    await bench.append(*map(str, range(10)), key="k")
    reader = await bench.reader()
    found = await bench.take(reader, 10)
    await reader.ack(found[3:8:2])
    await bench.reopen()
    left = bench.in_order(await bench.take(await bench.reader(), 7))
    assert left == [str(i).encode() for i in (0, 1, 2, 4, 6, 8, 9)]


@reopen(Need.REOPEN)
async def unacked_messages_come_as_the_next_attempt(bench: Bench) -> None:
    """However often it is opened again."""
    await bench.append("a")
    attempt = 0
    for _ in range(3):
        found = await bench.take(await bench.reader(), 1)
        assert bench.are_attempts(found, attempt + 1)
        attempt = found[0].attempt
        await bench.reopen()


@reopen(Need.REOPEN)
async def delay_of_a_release_is_remembered(bench: Bench) -> None:
    """Neither early nor lost, and where order is kept the key waits behind it."""
    await bench.append("a", "b", key="k")
    reader = await bench.reader()
    before_ms = bench.now_ms()
    await reader.release((await bench.take(reader, 2))[:1], delay_ms=500)
    await bench.reopen()
    found = await bench.take(await bench.reader(), 2)
    assert bench.now_ms() - before_ms >= 499
    assert bench.in_order(found) == [b"a", b"b"]
    assert bench.are_attempts(found, 2, 2)


@reopen(Need.REOPEN, Need.DELAY)
async def delayed_messages_are_remembered(bench: Bench) -> None:
    """Neither early nor lost, nor doubled."""
    await bench.reader()
    before_ms = bench.now_ms()
    await bench.append("late", delay_ms=500)
    await bench.append("far", delay_ms=3_600_000)
    await bench.reopen()
    await bench.backlog_becomes(2)
    reader = await bench.reader()
    assert bodies(await bench.take_acked(reader, 1)) == [b"late"]
    assert bench.now_ms() - before_ms >= 499
    await bench.reopen()
    await bench.nothing_comes(await bench.reader())
    await bench.backlog_becomes(1)


@reopen(Need.REOPEN, Need.MANY_GROUPS)
async def groups_are_remembered(bench: Bench) -> None:
    """Each with what it has still to settle."""
    readers = [await bench.reader(group) for group in ("one", "two")]
    await bench.append(*map(str, range(10)))
    await bench.take_acked(readers[0], 10)
    await bench.reopen()
    await bench.backlog_becomes(0, "one")
    await bench.backlog_becomes(10, "two")
    assert len(await bench.take(await bench.reader("two"), 10)) == 10


@reopen(Need.REOPEN)
async def positions_go_on(bench: Bench) -> None:
    """No offset is given twice."""
    first = list(await bench.queue.append([bench.message(str(i), key=f"k{i}") for i in range(20)]))
    await bench.take_acked(await bench.reader(), 20)
    await bench.reopen()
    second = list(await bench.queue.append([bench.message(str(i), key=f"k{i}") for i in range(20)]))
    if all(position.offset is not None for position in first):
        assert len(set(first + second)) == 40
