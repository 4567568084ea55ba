"""A queue that fails does exactly what its faults say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from random import Random

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.errors import EvermqError, Misconfigured, Partial, Rejected, Unavailable, Uncertain
from evermq.message import Message, MessageFactory
from evermq.testing.faulty import Fault, Faulty, Verb

message = MessageFactory()
NOT_DONE = {Fault.REFUSE: Unavailable, Fault.LOSE: Uncertain, Fault.REJECT: Rejected}


def batch(*texts: str) -> list[Message]:
    return [message(text, key=text) for text in texts]


async def outcome(act: Awaitable[object]) -> type[EvermqError] | None:
    try:
        await act
    except EvermqError as error:
        return type(error)
    return None


async def test_queue_that_is_down_refuses_until_it_is_up() -> None:
    inner = MemoryQueue("orders")
    faulty = Faulty(inner)
    reader = await faulty.reader("g")
    faulty.down()
    acts = [faulty.append(batch("a")), faulty.backlog("g"), faulty.reader("g"), reader.ack([])]
    acts.append(reader.read(count_max=1, wait_ms=0))
    assert [await outcome(act) for act in acts] == [Unavailable] * 5
    faulty.up()
    await faulty.append(batch("b"))
    assert [d.message.body for d in await reader.read(count_max=9, wait_ms=0)] == [b"b"]
    assert faulty.bitten[Verb.APPEND, Fault.REFUSE] == 1


@pytest.mark.parametrize("fault", NOT_DONE)
async def test_append_that_is_not_done_leaves_nothing(fault: Fault) -> None:
    faulty = Faulty(MemoryQueue("orders"))
    faulty.next(fault)
    with pytest.raises(NOT_DONE[fault]):
        await faulty.append(batch("a"))
    assert await faulty.backlog("g") == 0
    await faulty.append(batch("a"))
    assert await faulty.backlog("g") == 1


async def test_forgotten_append_is_done() -> None:
    faulty = Faulty(MemoryQueue("orders"))
    faulty.next(Fault.FORGET)
    with pytest.raises(Uncertain):
        await faulty.append(batch("a"))
    assert await faulty.backlog("g") == 1


async def test_late_append_is_done_after_it_was_given_up() -> None:
    inner = MemoryQueue("orders")
    faulty = Faulty(inner, delay_ms_max=20)
    reader = await inner.reader("g")
    faulty.next(Fault.LATE)
    with pytest.raises(Uncertain):
        await faulty.append(batch("late"))
    assert await inner.backlog("g") == 0
    assert [d.message.body for d in await reader.read(count_max=9, wait_ms=10_000)] == [b"late"]


async def test_split_batch_says_what_went_in() -> None:
    inner = MemoryQueue("orders")
    faulty = Faulty(inner)
    faulty.next(Fault.SPLIT)
    messages = batch("a", "b", "c", "a", "b")
    with pytest.raises(Partial) as caught:
        await faulty.append(messages)
    went = [not isinstance(each, EvermqError) for each in caught.value.outcomes]
    assert went == [True, False, True, True, False]
    found = await (await inner.reader("g")).read(count_max=9, wait_ms=0)
    assert sorted(d.message.body for d in found) == [b"a", b"a", b"c"]


async def test_split_batch_of_one_key_keeps_its_beginning() -> None:
    faulty = Faulty(MemoryQueue("orders"))
    faulty.next(Fault.SPLIT)
    with pytest.raises(Partial) as caught:
        await faulty.append([message(str(i), key="k") for i in range(5)])
    assert [isinstance(each, Unavailable) for each in caught.value.outcomes] == [False, False, True, True, True]


async def test_hanging_queue_goes_on_when_it_is_up() -> None:
    faulty = Faulty(MemoryQueue("orders"))
    faulty.hang()
    appending = asyncio.create_task(faulty.append(batch("a")))
    await asyncio.sleep(0.01)
    assert not appending.done()
    faulty.up()
    assert len(await appending) == 1


async def test_planned_faults_come_in_their_order() -> None:
    faulty = Faulty(MemoryQueue("orders"))
    faulty.next(None)
    faulty.next(Fault.REFUSE, 2)
    faulty.next(Fault.FORGET)
    found = [await outcome(faulty.append(batch("a"))) for _ in range(5)]
    assert found == [None, Unavailable, Unavailable, Uncertain, None]


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.LOSE, Fault.FORGET])
async def test_failed_read_loses_nothing(fault: Fault) -> None:
    faulty = Faulty(MemoryQueue("orders"))
    await faulty.append(batch("a"))
    reader = await faulty.reader("g")
    faulty.next(fault, verb=Verb.READ)
    with pytest.raises(Unavailable):
        await reader.read(count_max=9, wait_ms=0)
    assert [d.message.body for d in await reader.read(count_max=9, wait_ms=0)] == [b"a"]


@pytest.mark.parametrize(("fault", "left"), [(Fault.REFUSE, 1), (Fault.LOSE, 1), (Fault.FORGET, 0)])
async def test_failed_ack_is_done_only_if_its_answer_was_lost(fault: Fault, left: int) -> None:
    faulty = Faulty(MemoryQueue("orders"))
    await faulty.append(batch("a"))
    reader = await faulty.reader("g")
    found = await reader.read(count_max=9, wait_ms=0)
    faulty.next(fault, verb=Verb.ACK)
    with pytest.raises((Unavailable, Uncertain)):
        await reader.ack(found)
    assert await faulty.backlog("g") == left


async def test_rates_are_kept_and_a_seed_repeats_them() -> None:
    async def run(seed: int) -> list[type[EvermqError] | None]:
        rates = {Verb.APPEND: {Fault.REFUSE: 0.2, Fault.FORGET: 0.1, Fault.DELAY: 0.1}}
        faulty = Faulty(MemoryQueue("orders"), rates=rates, random=Random(seed), delay_ms_max=0)
        found = [await outcome(faulty.append(batch("a"))) for _ in range(1000)]
        assert 150 < faulty.bitten[Verb.APPEND, Fault.REFUSE] == found.count(Unavailable) < 250
        assert 60 < faulty.bitten[Verb.APPEND, Fault.FORGET] == found.count(Uncertain) < 140
        assert await faulty.backlog("g") == 1000 - found.count(Unavailable)
        return found

    assert await run(7) == await run(7) != await run(8)


def test_fault_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(Misconfigured, match="read cannot fail by SPLIT"):
        Faulty(MemoryQueue("orders")).next(Fault.SPLIT, verb=Verb.READ)
    with pytest.raises(Misconfigured, match="rates of append"):
        Faulty(MemoryQueue("orders"), rates={Verb.APPEND: {Fault.REFUSE: 0.7, Fault.LOSE: 0.7}})
