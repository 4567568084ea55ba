"""Ack: what is done never comes again, and only that."""

from __future__ import annotations

from evermq.port import Delivery
from evermq.testing.conformance.bench import Bench, bodies
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["ack"]

ack = Chapter("ack")


async def _left(bench: Bench, count: int) -> list[bytes]:
    """What a new reader gets, sorted where no order is promised, and that nothing else comes."""
    reader = await bench.reader()
    found = bench.in_order(await bench.take(reader, count)) if count else []
    await bench.nothing_comes(reader)
    return found


def _numbered(found: list[Delivery]) -> dict[str, Delivery]:
    return {delivery.message.body.decode(): delivery for delivery in found}


@ack()
async def acked_messages_never_come_again(bench: Bench) -> None:
    """Not to this reader, and not to the next."""
    await bench.append(*map(str, range(20)))
    reader = await bench.reader()
    await bench.take_acked(reader, 20)
    await bench.nothing_comes(reader)
    await reader.close()
    assert await _left(bench, 0) == []


@ack()
async def unacked_messages_come_again(bench: Bench) -> None:
    """To the next reader."""
    await bench.append(*map(str, range(10)))
    reader = await bench.reader()
    await bench.take(reader, 10)
    await reader.close()
    assert sorted(await _left(bench, 10)) == [str(i).encode() for i in range(10)]


@ack(Need.SINGLE_ACK)
async def every_message_is_acked_alone(bench: Bench) -> None:
    """Those around it come again."""
    await bench.append(*map(str, range(10)), key="k")
    reader = await bench.reader()
    found = _numbered(await bench.take(reader, 10))
    for i in range(1, 10, 2):
        await reader.ack([found[str(i)]])
    await reader.close()
    assert await _left(bench, 5) == [b"0", b"2", b"4", b"6", b"8"]


@ack(Need.SINGLE_ACK)
async def acks_may_come_in_any_order(bench: Bench) -> None:
    """The last first."""
    await bench.append(*map(str, range(10)), key="k")
    reader = await bench.reader()
    found = _numbered(await bench.take(reader, 10))
    for i in (9, 7, 8, 3, 5, 4, 6):
        await reader.ack([found[str(i)]])
    await reader.close()
    assert await _left(bench, 3) == [b"0", b"1", b"2"]


@ack()
async def ack_again_is_harmless(bench: Bench) -> None:
    """In one call, and in the next."""
    await bench.append("a", key="k")
    reader = await bench.reader()
    found = await bench.take(reader, 1)
    await reader.ack(found + found)
    await reader.ack(found)
    await bench.append("b", key="k")
    await reader.ack(found)
    await reader.close()
    assert await _left(bench, 1) == [b"b"]


@ack()
async def ack_of_nothing_is_harmless(bench: Bench) -> None:
    """And acknowledges nothing."""
    await bench.append("a")
    reader = await bench.reader()
    await reader.ack([])
    await bench.take(reader, 1)
    await reader.ack([])
    await reader.close()
    assert await _left(bench, 1) == [b"a"]


@ack(Need.SINGLE_ACK)
async def ack_of_what_was_released_is_ignored(bench: Bench) -> None:
    """It comes again all the same."""
    await bench.append("a", key="k")
    reader = await bench.reader()
    found = await bench.take(reader, 1)
    await reader.release(found)
    await reader.ack(found)
    assert bodies(await bench.take(reader, 1)) == [b"a"]


@ack(Need.SINGLE_ACK)
async def ack_of_what_another_reader_has_is_ignored(bench: Bench) -> None:
    """Only the reader that was handed a message may settle it."""
    await bench.append("a", key="k")
    first, second = await bench.reader(), await bench.reader()
    found = await bench.take(first, 1)
    await second.ack(found)
    await first.close()
    await second.close()
    assert await _left(bench, 1) == [b"a"]


@ack()
async def acked_and_new_messages_are_kept_apart(bench: Bench) -> None:
    """Over many rounds of append, read and ack."""
    reader = await bench.reader()
    for turn in range(30):
        await bench.append(f"{turn}.0", f"{turn}.1", key=f"k{turn % 5}")
        found = await bench.take_acked(reader, 2)
        assert sorted(bodies(found)) == [f"{turn}.0".encode(), f"{turn}.1".encode()]
    await bench.nothing_comes(reader)
    await bench.backlog_becomes(0)
