"""A membership over a consumer that is played: how it ends in the middle of a rebalance, and what it does then."""

from __future__ import annotations

import asyncio
import gc
import threading
from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from tests.adapters.kafka.played import (
    COUNT,
    LIMIT_S,
    SETTINGS,
    TOPIC,
    coordinator_of,
    make,
    membership_of,
    opened,
    read,
    within_limit,
)

from evermq.adapters.kafka import membership as module
from evermq.adapters.kafka.committing import Commits
from evermq.adapters.kafka.lane import Lane
from evermq.adapters.kafka.membership import Membership
from evermq.adapters.kafka.progress import Progress, unpack
from evermq.adapters.kafka.reader import KafkaReader
from evermq.clock import SYSTEM
from evermq.errors import Closed, Misconfigured, Unavailable

pytestmark = pytest.mark.usefixtures("consumers")

_LARGE = 1 << 20


async def handing_over(membership: Membership, consumer: Any) -> None:
    """A rebalance has begun, and waits for what is being handled."""
    consumer.rebalance()
    membership.fetch()
    while not (consumer.is_handing_over and membership.group._leaving):
        await asyncio.sleep(0.001)


def left_behind(membership: Membership) -> dict[int, int]:
    """Which offsets whoever gets the lane hands out again, and for which time, by what was committed last."""
    offset, metadata = coordinator_of(membership).commits[-1]
    return {
        at: each.attempt for each in unpack(TOPIC.id, offset, metadata).again for at in range(each.start, each.stop)
    }


async def test_reader_that_closes_while_its_lane_is_handed_over_ends_the_wait_for_it() -> None:
    membership, consumer, reader = await opened()
    found = await read(reader)
    await handing_over(membership, consumer)
    await reader.ack(found[:2])
    async with within_limit():
        await reader.close()
    assert coordinator_of(membership).commits[-1][0] == 2
    assert left_behind(membership) == {2: 2, 3: 2, 4: 2}


async def test_lane_of_a_reader_that_closes_while_others_stay_is_handed_over_at_once() -> None:
    membership, consumer, reader = await opened()
    other = KafkaReader(membership, SYSTEM)
    await read(reader, 2)
    await handing_over(membership, consumer)
    await reader.close()
    async with within_limit():
        while consumer.is_handing_over:
            await asyncio.sleep(0.001)
    assert left_behind(membership) == {0: 2, 1: 2}
    await other.close()


async def test_membership_that_ends_while_a_lane_is_handed_over_ends_the_wait_for_it() -> None:
    """As of a topic that is dropped under its readers."""
    membership, consumer, reader = await opened()
    await read(reader)
    await handing_over(membership, consumer)
    async with within_limit():
        await membership.end()
    assert left_behind(membership) == dict.fromkeys(range(COUNT), 2)
    with pytest.raises(Closed):
        await read(reader)


async def test_lane_that_is_handed_over_waits_for_the_readers_that_stay() -> None:
    membership, consumer, reader = await opened()
    other = KafkaReader(membership, SYSTEM)
    found = await read(reader)
    await handing_over(membership, consumer)
    await other.close()
    assert consumer.is_handing_over
    async with within_limit():
        await reader.ack(found)
        while consumer.is_handing_over:
            await asyncio.sleep(0.001)
    assert coordinator_of(membership).commits[-1][0] == COUNT
    await reader.close()


async def test_lane_that_the_topic_had_not_when_it_was_opened_is_read_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    membership, consumer, reader = await opened()
    topic = membership._topic = membership._restorer._topic = replace(TOPIC, names=[])
    for _ in range(2):
        consumer._on["on_assign"](consumer, [TopicPartition(TOPIC.name, 3)])
        await asyncio.sleep(0)
    membership.group.lanes[3].add([(0, make("new"))])
    found = [each.position for each in await read(reader, COUNT + 1)]
    assert ("3", 0) in [(each.lane, each.offset) for each in found]
    assert (list(topic.known), topic.lanes) == ([0, 1, 2, 3], 1)
    assert caplog.text.count("4 partitions by now, and had 1") == 1
    await reader.close()


async def test_reader_that_is_opened_while_its_group_is_left_is_told_at_once() -> None:
    membership = membership_of()
    consumer: Any = membership._consumer
    consumer.joins = False
    opening = asyncio.create_task(membership.open())
    await asyncio.sleep(0)
    await membership.end()
    with pytest.raises(Closed):
        await opening


@pytest.mark.parametrize("named", [True, False])
async def test_coordinator_hears_of_a_member_that_ends_before_it_has_joined(named: bool) -> None:
    """The driver does not say so; where a member has a name of its own, nobody should."""
    dotted = {"group.instance.id": "one"} if named else {}
    membership = membership_of(replace(SETTINGS, group_prefix="shop-", dotted=dotted))
    coordinator, consumer = coordinator_of(membership), cast(Any, membership._consumer)
    consumer.joins = False
    opening = asyncio.create_task(membership.open())
    await asyncio.sleep(0)
    await membership.end()
    await asyncio.gather(opening, return_exceptions=True)
    assert coordinator.gone == ([] if named else [("shop-billing", "member-1")])


async def test_who_closes_a_reader_again_waits_until_the_group_is_left_too() -> None:
    _, consumer, reader = await opened()
    closing = asyncio.create_task(reader.close())
    await asyncio.sleep(0)
    await reader.close()
    assert consumer.is_closed
    await closing


async def test_group_is_left_although_the_broker_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    _, consumer, reader = await opened()

    def fail() -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    consumer.unsubscribe = fail
    await reader.close()
    assert consumer.is_closed
    assert "group billing" in caplog.text


async def test_what_is_settled_before_the_end_is_committed_and_nobody_waits_for_more() -> None:
    membership, _, reader = await opened()
    coordinator = coordinator_of(membership)
    found = await read(reader)
    coordinator.may_commit.clear()
    await reader.ack(found[:1])
    while not coordinator.is_committing:
        await asyncio.sleep(0.001)
    await reader.ack(found[1:3])
    waiting = membership.commits.pending
    assert waiting is not None
    closing = asyncio.create_task(reader.close())
    await asyncio.sleep(0)
    coordinator.may_commit.set()
    await closing
    assert coordinator.commits[-1][0] == 3
    assert waiting.done()
    assert [task is not None and task.done() for task in (membership._fetching, membership._committing)] == [True] * 2


async def test_reader_hears_of_it_when_commits_are_made_no_more() -> None:
    membership, _, reader = await opened()
    assert membership._committing
    membership._committing.cancel()  # as a driver may cancel what it is waited for in
    await asyncio.sleep(0.01)
    with pytest.raises(Unavailable, match="committing ended"):
        await read(reader)
    await reader.close()


async def test_closed_reader_is_handed_nothing_and_settles_nothing_while_others_go_on() -> None:
    membership, _, reader = await opened()
    other = KafkaReader(membership, SYSTEM)
    held = await read(reader, 2)
    await reader.close()
    for act in (read(reader), reader.ack(held), reader.release(held)):
        with pytest.raises(Closed):
            await act
    found = await read(other)
    assert [(each.message.body, each.attempt) for each in found] == [
        (b"%d" % n, 2 if n < len(held) else 1) for n in range(COUNT)
    ]
    await other.ack(found)
    await other.close()
    assert coordinator_of(membership).commits[-1][0] == COUNT


async def test_read_that_waits_when_its_reader_is_closed_gets_nothing() -> None:
    membership, _, reader = await opened()
    other = KafkaReader(membership, SYSTEM)
    await reader.ack(await read(reader))
    waiting = asyncio.create_task(reader.read(count_max=9, wait_ms=60_000))
    while not reader.is_waiting:
        await asyncio.sleep(0)
    await reader.close()
    membership.group.lanes[0].add([(COUNT, make(b"late"))])
    with pytest.raises(Closed):
        await waiting
    assert [each.message.body for each in await read(other)] == [b"late"]
    await other.close()


async def test_read_that_waits_for_a_commit_when_its_reader_is_closed_gets_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    membership, _, reader = await opened()
    other = KafkaReader(membership, SYSTEM)
    commits = asyncio.Event()
    monkeypatch.setattr(Commits, "uncommitted", 1 << 30)
    monkeypatch.setattr(membership.commits, "wait", lambda *_: commits.wait())
    waiting = asyncio.create_task(read(reader))
    await asyncio.sleep(0)
    await reader.close()
    commits.set()
    with pytest.raises(Closed):
        await waiting
    found = await read(other)
    assert [each.attempt for each in found] == [1] * COUNT  # nobody has seen them before
    await other.close()


REFUSED = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)


async def test_client_that_shares_the_lanes_by_another_rule_is_named_where_it_keeps_a_reader_out() -> None:
    membership = membership_of()
    consumer: Any = membership._consumer
    consumer.joins = False
    consumer.events.put(lambda: membership._on_error(REFUSED))
    with pytest.raises(Misconfigured, match=r"billing.*partition\.assignment\.strategy"):
        async with within_limit():
            await membership.open()


async def test_such_a_client_does_not_end_who_has_joined() -> None:
    membership, _, reader = await opened()
    membership._on_error(REFUSED)
    await asyncio.sleep(0)
    assert len(await read(reader)) == COUNT
    await reader.close()


async def test_reader_that_does_not_join_says_what_the_driver_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_JOIN_S_MAX", 0.1)
    membership = membership_of()
    consumer: Any = membership._consumer
    consumer.joins = False
    consumer.events.put(lambda: membership._on_error(KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE)))
    with pytest.raises(Unavailable, match=r"not joined.*Coordinator not available"):
        await membership.open()


async def test_lanes_of_another_topic_are_none_of_a_membership() -> None:
    membership, consumer, reader = await opened()
    lane = membership.group.lanes[0]
    other = [TopicPartition("returns", 0)]
    consumer._on["on_revoke"](consumer, other)
    consumer._on["on_lost"](consumer, other)
    consumer._on["on_assign"](consumer, other)
    assert membership.group.lanes == {0: lane}
    await reader.close()


async def test_reader_that_has_ended_says_why_in_the_same_words_however_often_it_is_asked() -> None:
    membership, _, reader = await opened()
    membership._fail(Unavailable("lightning"))
    said = []
    for _ in range(4):
        with pytest.raises(Unavailable) as raised:
            await read(reader)
        said.append(str(raised.value))
    assert said[0] == "lightning"
    assert "lightning" in said[1]
    assert said[1:] == [said[1]] * 3
    await reader.close()


def buffered(membership: Membership, *sizes: int) -> list[int]:
    """Which lanes take no more, once each has so many bytes, in records of a megabyte."""
    for number, size in enumerate(sizes):
        lane = membership.group.lanes.setdefault(number, Lane.restore(number, str(number), 0, Progress([], [])))
        if rows := [(lane.next + at, make(b"x" * min(_LARGE, size))) for at in range(-(-size // _LARGE))]:
            lane.add(rows)
    membership._pause_and_resume()
    return [lane.number for lane in membership.group.lanes.values() if lane.paused]


async def test_large_records_that_nobody_reads_do_not_fill_the_memory() -> None:
    """Thousands of a lane were kept, of whatever size."""
    membership = membership_of()
    assert buffered(membership, 20 * _LARGE, _LARGE, 100) == []
    assert buffered(membership, 13 * _LARGE) == [0]
    assert buffered(membership, 0, 0, 11 * _LARGE) == [0, 2]
    first = membership.group.lanes[0]
    for left, paused in ((10, [0, 2]), (2, [2])):
        first.settle([offset for offset, _ in first.take(first.buffered - left, 0, 10_000)[0]])
        assert buffered(membership) == paused
    first.cut(0)
    assert first.fresh_bytes == 0
    await membership.end()


async def test_poll_that_fails_while_its_membership_ends_is_no_error_of_the_program() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    membership, consumer, reader = await opened()
    await read(reader)
    polls, may = threading.Event(), threading.Event()

    def fail() -> None:
        polls.set()
        may.wait(LIMIT_S)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    consumer.events.put(fail)
    membership.fetch()
    await asyncio.to_thread(polls.wait, LIMIT_S)
    async with within_limit():
        closing = asyncio.create_task(reader.close())
        assert membership._fetching
        while not membership._fetching.cancelling():
            await asyncio.sleep(0)
        may.set()
        await closing
    consumer._on = {}
    del membership, reader, closing  # they keep what ended
    gc.collect()
    assert not told
