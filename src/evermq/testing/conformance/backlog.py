"""Backlog: what a group has still to settle, no more and no less."""

from __future__ import annotations

from evermq.testing.conformance.bench import Bench
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need
from evermq.traits import Order

__all__ = ["backlog"]

backlog = Chapter("backlog")


@backlog()
async def backlog_counts_down_with_acks(bench: Bench) -> None:
    """From what was appended to nothing."""
    reader = await bench.reader()
    await bench.backlog_becomes(0)
    await bench.append(*map(str, range(10)), key="k")
    await bench.backlog_becomes(10)
    found = await bench.take(reader, 10)
    await reader.ack(found[:4])
    await bench.backlog_becomes(6)
    await reader.ack(found[:4])
    await bench.backlog_becomes(6)
    await reader.ack(found[4:])
    await bench.backlog_becomes(0)


@backlog()
async def unacked_messages_are_backlog(bench: Bench) -> None:
    """Handed out is not settled; nor is given back."""
    await bench.append(*map(str, range(10)))
    reader = await bench.reader()
    await bench.take(reader, 10)
    await bench.backlog_becomes(10)
    await reader.close()
    await bench.backlog_becomes(10)


@backlog()
async def released_messages_are_backlog(bench: Bench) -> None:
    """With a delay and without, and what waits behind them."""
    await bench.append(*map(str, range(4)), key="k")
    reader = await bench.reader()
    found = await bench.take(reader, 4)
    await reader.release(found[:2], delay_ms=3_600_000)
    await bench.append("4", key="k")
    if bench.traits.order >= Order.KEY:
        await bench.nothing_comes(reader)
    await bench.backlog_becomes(5)


@backlog(Need.NEW_GROUPS)
async def group_never_made_has_everything(bench: Bench) -> None:
    """As if it began now, at the oldest; asking makes no group."""
    await bench.append(*map(str, range(10)))
    await bench.backlog_becomes(10, "two")
    await bench.append("a")
    await bench.backlog_becomes(11, "two")


@backlog(Need.MANY_GROUPS)
async def backlog_is_of_one_group(bench: Bench) -> None:
    """What another settles does not count."""
    first = await bench.reader("one")
    await bench.reader("two")
    await bench.append(*map(str, range(10)))
    await bench.take_acked(first, 10)
    await bench.backlog_becomes(0, "one")
    await bench.backlog_becomes(10, "two")


@backlog()
async def backlog_of_lanes_adds_up(bench: Bench) -> None:
    """The lanes that the positions name."""
    await bench.reader()
    positions = await bench.queue.append([bench.message(str(i), key=f"k{i}") for i in range(30)])
    await bench.backlog_becomes(30)
    if any(position.via for position in positions):
        return  # the lanes of a composite are those of its children
    for lane in {position.lane for position in positions}:
        expected = sum(position.lane == lane for position in positions)
        assert await bench.queue.backlog(bench.group, lane) == expected
