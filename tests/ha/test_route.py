"""Route, Failover and the merged reader, where children are slow, gone, contrary or broken."""

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import pytest

from evermq import Message, MessageFactory, Position
from evermq.adapters.memory import MemoryQueue
from evermq.errors import Partial, Rejected, TooLarge, Unavailable, Uncertain, Unsupported
from evermq.ha.failover import Failover
from evermq.ha.route import Route
from evermq.port import Start
from evermq.testing.faulty import Fault, Faulty, Verb

make = MessageFactory()


class Broken(MemoryQueue):
    """Fails in a way that no adapter should."""

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        raise ValueError("a driver's own error")

    async def close(self) -> None:
        raise ValueError("a driver's own error")


def ladder(**options: int) -> tuple[Failover, Faulty, Faulty]:
    primary, standby = Faulty(MemoryQueue("t")), Faulty(MemoryQueue("t"))
    return Failover(primary=primary, standby=standby, **options), primary, standby  # type: ignore[arg-type]


async def test_error_that_nobody_listed_is_uncertain_and_goes_on() -> None:
    queue = Route({"a": Broken("t"), "b": MemoryQueue("t")})
    assert (await queue.append([make("x")]))[0].via == ("b",)
    with pytest.raises(Uncertain, match="a driver's own error"):
        await Route({"a": Broken("t")}).append([make("x")])


async def test_append_that_a_rung_gave_up_by_itself_is_uncertain() -> None:
    """A driver that cancels what it had sent, as when its connection ends."""

    class GivesUp(MemoryQueue):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            await super().append(messages)
            raise asyncio.CancelledError

    queue, standby = Route({"a": GivesUp("t"), "b": Faulty(MemoryQueue("t"))}), Faulty(MemoryQueue("t"))
    assert (await queue.append([make("x")]))[0].via == ("b",)
    standby.down()
    with pytest.raises(Uncertain, match="gave the append up"):
        await Route({"a": GivesUp("t"), "b": standby}).append([make("x")])


async def test_uncertain_stays_uncertain_whatever_a_later_rung_says() -> None:
    for later in (Fault.REFUSE, Fault.REJECT):
        queue, primary, standby = ladder()
        primary.next(Fault.FORGET)
        standby.next(later)
        with pytest.raises(Uncertain):
            await queue.append([make("x")])


async def test_refusal_of_a_standby_is_not_final_while_the_primary_is_away() -> None:
    queue, primary, standby = ladder()
    primary.next(Fault.REFUSE)
    standby.next(Fault.REJECT)
    with pytest.raises(Unavailable):
        await queue.append([make("x")])
    primary.next(Fault.REJECT)
    with pytest.raises(Rejected):
        await queue.append([make("x")])


async def test_every_message_of_a_batch_has_its_own_outcome() -> None:
    queue, primary, standby = ladder()
    primary.next(Fault.SPLIT)
    standby.down()
    with pytest.raises(Partial) as caught:
        await queue.append([make("x", key="a"), make("y", key="b")])
    first, second = caught.value.outcomes
    assert isinstance(first, Position)
    assert isinstance(second, Unavailable)


async def test_what_one_rung_could_not_take_is_refused_by_all() -> None:
    queue = Failover(primary=MemoryQueue("t"), standby=MemoryQueue("t", message_bytes_max=100))
    with pytest.raises(TooLarge):
        await queue.append([make(b"x" * 101)])
    await queue.append([make(b"x" * 100)])


async def test_reader_opens_while_a_rung_hangs_and_reads_it_later() -> None:
    queue, primary, standby = ladder(append_ms_max=20)
    primary.hang()
    reader = await queue.reader("g")
    await standby.append([make("from the standby")])
    [delivery] = await reader.read(count_max=9, wait_ms=10_000)
    assert delivery.position.via == ("standby",)
    primary.up()
    await primary.append([make("from the primary")])
    [delivery] = await reader.read(count_max=9, wait_ms=10_000)
    assert delivery.position.via == ("primary",)


async def test_message_that_goes_up_while_its_backlog_is_asked_is_counted() -> None:
    above = MemoryQueue("t")

    class GoesUp(MemoryQueue):
        async def backlog(self, group: str, lane: str | None = None) -> int:
            await asyncio.sleep(0.01)  # a pump is quicker than the answer
            await above.append([make("x")])
            return await super().backlog(group, lane)

    queue = Route({"above": above, "last": GoesUp("t")}, unread=["last"])
    assert await queue.backlog("g") == 1
    await queue.close()


async def test_backlog_of_a_rung_that_does_not_answer_is_not_guessed() -> None:
    queue, primary, standby = ladder(append_ms_max=20)
    await queue.append([make("x")])
    assert await queue.backlog("g") == 1
    standby.down()
    with pytest.raises(Unavailable):
        await queue.backlog("g")
    standby.up()
    primary.hang()
    with pytest.raises(Unavailable, match="primary did not answer"):
        await queue.backlog("g")


async def test_child_that_fails_or_hangs_at_close_keeps_no_other_open() -> None:
    last = MemoryQueue("t")
    queue = Route({"a": Broken("t"), "b": last})
    with pytest.raises(ValueError, match="own error"):
        await queue.close()
    with pytest.raises(Unavailable):
        await last.append([make("x")])


async def test_append_under_way_at_close_does_not_hold_it_up() -> None:
    queue, primary, _ = ladder(append_ms_max=20)
    primary.hang()
    assert (await queue.append([make("x")]))[0].via == ("standby",)
    async with asyncio.timeout(20):
        await queue.close()


async def test_callers_that_give_up_do_not_make_a_rung_look_dead() -> None:
    queue, primary, _ = ladder(append_ms_max=60_000)
    primary.next(Fault.HANG, 8)
    given_up = [asyncio.ensure_future(queue.append([make("x")])) for _ in range(8)]
    await asyncio.sleep(0.01)
    for append in given_up:
        append.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    assert (await queue.append([make("x")]))[0].via == ("primary",)


async def test_rung_that_never_answers_is_passed_over_and_holds_a_bounded_number_of_appends() -> None:
    queue, primary, _ = ladder(append_ms_max=5)
    primary.hang()
    for _ in range(20):
        assert (await queue.append([make("x")]))[0].via == ("standby",)
    assert primary.bitten[Verb.APPEND, Fault.HANG] == 4
    primary.up()
    await asyncio.sleep(0.01)
    assert (await queue.append([make("x")]))[0].via == ("primary",)


async def test_error_of_one_rung_is_raised_after_what_the_others_have() -> None:
    class Gone(MemoryQueue):
        opened = False

        async def reader(self, group: str, *, start: Start = Start.OLDEST) -> NoReturn:
            raise Rejected("no such topic") if self.opened else Unavailable("not yet")

    gone, standby = Gone("t"), MemoryQueue("t")
    queue = Failover(primary=gone, standby=standby)
    reader = await queue.reader("g")
    gone.opened = True
    await standby.append([make("x")])
    found, errors = 0, 0
    for _ in range(4):
        try:
            found += len(await reader.read(count_max=9, wait_ms=300))
        except Rejected:
            errors += 1
    assert found == 1
    assert errors


async def test_rung_that_only_fails_does_not_end_the_reads_of_the_others() -> None:
    class Refusing(MemoryQueue):
        tries = 0

        async def reader(self, group: str, *, start: Start = Start.OLDEST) -> NoReturn:
            self.tries += 1
            raise Unavailable("not yet") if self.tries == 1 else Rejected("no such topic")

    primary, standby = MemoryQueue("t"), Refusing("t")
    reader = await Failover(primary=primary, standby=standby).reader("g")
    for number in range(5):
        reading = asyncio.create_task(reader.read(count_max=9, wait_ms=5_000))
        await asyncio.sleep(0.02)
        await primary.append([make(b"%d" % number)])
        [found] = await reading
        assert found.message.body == b"%d" % number
    with pytest.raises(Rejected):  # it is told of, where there is nothing else
        await reader.read(count_max=9, wait_ms=300)
    assert standby.tries < 6
    await reader.close()


async def test_released_key_takes_what_waits_in_the_reader_along() -> None:
    queue = Route({"a": MemoryQueue("t")})
    reader = await queue.reader("g")
    assert await reader.read(count_max=9, wait_ms=5) == []
    await queue.append([make(b"%d" % i, key="k") for i in range(4)])
    await asyncio.sleep(0.01)  # the poll that was begun for nine has found all four
    [first] = await reader.read(count_max=1, wait_ms=1000)
    await reader.release([first])
    again = [d.message.body for _ in range(4) for d in await reader.read(count_max=1, wait_ms=1000)]
    assert again == [b"0", b"1", b"2", b"3"]


async def test_what_waits_in_a_reader_is_given_back_when_it_closes() -> None:
    queue, primary, standby = ladder()
    reader = await queue.reader("g")
    for rung in (primary, standby):
        await rung.append([make("x"), make("y")])
    await reader.read(count_max=1, wait_ms=1000)
    await reader.close()
    other = await queue.reader("g")
    found = 0
    while found < 4:
        found += len(await other.read(count_max=9, wait_ms=10_000))
    assert found == 4


async def test_offsets_are_each_rungs_own() -> None:
    queue, _, _ = ladder()
    assert not queue.traits.replay
    with pytest.raises(Unsupported):
        await queue.reader("g", start=Start("offset", 3))


async def test_ack_of_one_rung_is_done_though_another_fails() -> None:
    queue, primary, standby = ladder()
    reader = await queue.reader("g")
    for rung in (primary, standby):
        await rung.append([make("x")])
    found = await reader.read(count_max=9, wait_ms=1000) + await reader.read(count_max=9, wait_ms=100)
    primary.next(Fault.REFUSE, verb=Verb.ACK)
    with pytest.raises(Unavailable):
        await reader.ack(found)
    assert [await rung.backlog("g") for rung in (primary, standby)] == [1, 0]


async def test_appends_that_their_callers_gave_up_do_not_pile_up_before_a_child_that_hangs() -> None:
    """Whoever waits for less than `append_ms_max` leaves one behind with each try, and its messages with it."""
    asked = 0

    class Counted(Faulty):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            nonlocal asked
            asked += 1
            return await super().append(messages)

    primary = Counted(MemoryQueue("t"))
    queue = Failover(primary=primary, standby=MemoryQueue("t"))
    primary.hang()
    for _ in range(300):
        append = asyncio.create_task(queue.append([make("x")]))
        for _ in range(3):
            await asyncio.sleep(0)
        append.cancel()
        await asyncio.gather(append, return_exceptions=True)
    assert asked == 256
    assert (await queue.append([make("x")]))[0].via == ("standby",)
    primary.up()
    async with asyncio.timeout(20):
        while (await queue.append([make("x")]))[0].via != ("primary",):
            await asyncio.sleep(0)
    await queue.close()
