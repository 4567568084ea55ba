"""Delay: a message waits for its time, and nobody waits for it."""

from __future__ import annotations

from evermq.errors import Rejected, Unsupported
from evermq.message import DELIVER_AT
from evermq.testing.conformance.bench import Bench, bodies, raised
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["delay"]

delay = Chapter("delay")


@delay(Need.DELAY)
async def delayed_message_is_not_early(bench: Bench) -> None:
    """To the millisecond of its header."""
    reader = await bench.reader()
    for key in (None, "k"):
        [message] = await bench.append("a", key=key, delay_ms=200)
        [delivery] = await bench.take(reader, 1)
        assert bench.now_ms() >= int(message.headers[DELIVER_AT])
        assert (delivery.message.id, delivery.message.body) == (message.id, b"a")
        assert delivery.message.headers[DELIVER_AT] == message.headers[DELIVER_AT]
        assert delivery.attempt == 1
        await reader.ack([delivery])
    await bench.nothing_comes(reader)


@delay(Need.DELAY)
async def waiting_read_wakes_when_it_is_due(bench: Bench) -> None:
    """Without an append to wake it."""
    reader = await bench.reader()
    await bench.append("a", delay_ms=100)
    assert bodies(await reader.read(count_max=9, wait_ms=3_600_000)) == [b"a"]


@delay(Need.DELAY)
async def delayed_message_holds_nobody_up(bench: Bench) -> None:
    """Not even its own key."""
    reader = await bench.reader()
    await bench.append("late", key="k", delay_ms=3_600_000)
    await bench.append("a", "b", key="k")
    await bench.append("c")
    assert sorted(bodies(await bench.take_acked(reader, 3))) == [b"a", b"b", b"c"]
    await bench.nothing_comes(reader)


@delay(Need.DELAY)
async def delayed_messages_come_as_they_become_due(bench: Bench) -> None:
    """The first in time first, not the first in line, where order is kept at all."""
    reader = await bench.reader()
    await bench.append("b", key="k", delay_ms=400)
    await bench.append("a", key="k", delay_ms=150)
    assert bench.in_order(await bench.take_acked(reader, 2)) == [b"a", b"b"]


@delay(Need.DELAY)
async def one_batch_has_early_and_late_messages(bench: Bench) -> None:
    """Each goes its way."""
    reader = await bench.reader()
    late, soon, now = (bench.message(t, key="k", delay_ms=d) for t, d in (("l", 3_600_000), ("s", 150), ("n", 0)))
    positions = await bench.queue.append([late, soon, now])
    assert len(set(positions)) == 3
    assert bench.in_order(await bench.take_acked(reader, 2)) == [b"n", b"s"]
    await bench.nothing_comes(reader)


@delay(Need.DELAY)
async def time_in_the_past_is_no_delay(bench: Bench) -> None:
    """Zero and negative numbers too."""
    times = ("0", "-5", "1000", str(bench.now_ms() - 1))
    await bench.queue.append([bench.message(text, headers={DELIVER_AT: text}) for text in times])
    assert len(await bench.take(await bench.reader(), 4)) == 4


@delay(Need.DELAY)
async def time_that_is_no_number_is_refused(bench: Bench) -> None:
    """The error names the header, and nothing of the batch is there."""
    for wrong in ("soon", "", "1.5"):
        batch = [bench.message("before"), bench.message("x", headers={DELIVER_AT: wrong})]
        assert DELIVER_AT in str(await raised(Rejected, bench.queue.append(batch)))
    await bench.nothing_comes(await bench.reader())
    await bench.backlog_becomes(0)


@delay(Need.DELAY)
async def delayed_messages_are_backlog(bench: Bench) -> None:
    """They have still to be settled."""
    await bench.reader()
    await bench.append("a", delay_ms=3_600_000)
    await bench.append("b")
    await bench.backlog_becomes(2)


@delay(Need.DELAY, Need.MANY_GROUPS)
async def every_group_gets_a_delayed_message(bench: Bench) -> None:
    """Once each."""
    readers = [await bench.reader(group) for group in ("one", "two")]
    await bench.append("a", delay_ms=100)
    for reader in readers:
        assert bodies(await bench.take_acked(reader, 1)) == [b"a"]
        await bench.nothing_comes(reader)


@delay(Need.DELAY)
async def readers_of_a_group_share_delayed_messages(bench: Bench) -> None:
    """Each message goes to one of them."""
    readers = [await bench.reader() for _ in range(2)]
    await bench.queue.append([bench.message(str(i), key=f"k{i}", delay_ms=100) for i in range(20)])
    found = await bench.gather(readers, 20)
    assert len({delivery.message.id for delivery in found}) == 20
    await bench.nothing_comes(*readers)


@delay(Need.NO_DELAY)
async def delay_that_is_not_supported_is_refused(bench: Bench) -> None:
    """Never delivered at once instead."""
    await bench.reader()
    await raised(Unsupported, bench.append("a", delay_ms=60_000))
    await bench.nothing_comes(await bench.reader())
