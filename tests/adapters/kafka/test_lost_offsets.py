"""Where a reader goes on whose offset the log has not: over a consumer that is played."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.adapters.kafka.played import (
    COUNT,
    coordinator_of,
    make,
    opened,
    read,
    within_limit,
)

from evermq.adapters.kafka import membership as module
from evermq.adapters.kafka.membership import Membership
from evermq.adapters.kafka.reader import KafkaReader
from evermq.adapters.kafka.topic import Topic
from evermq.errors import Closed, EvermqError, Unavailable
from evermq.port import Delivery

pytestmark = pytest.mark.usefixtures("consumers")

TRUNCATED = "Partition log truncation detected at offset 5 (leader epoch 0): broker end offset is 3"


async def read_on(reader: KafkaReader, held: Sequence[Delivery]) -> None:
    """Until the reader ends."""
    async with within_limit():
        while True:
            await reader.read(count_max=1, wait_ms=1)
            await reader.ack(held)


async def lost(membership: Membership, consumer: Any, said: str, bounds: tuple[int, int]) -> int:
    """The driver says that the offset of the lane is not there. Returns where it is fetched from then."""
    consumer.bounds = bounds
    lane = membership.group.lanes[0]
    consumer.assigned.clear()
    consumer.events.put(lambda: membership._lost.append((lane, said)))
    async with within_limit():
        while not consumer.assigned:
            membership.fetch()
            await asyncio.sleep(0.001)
    return cast(int, consumer.assigned[-1])


@pytest.mark.parametrize(
    ("settled", "said", "bounds", "at"),
    [
        (2, TRUNCATED, (0, 4), 3),  # what stands at 3 came since
        (2, TRUNCATED, (0, 9), 3),
        (5, TRUNCATED, (0, 4), 3),
        (2, "Broker: Offset out of range", (0, 3), 2),  # where it was cut off is not known
        (2, "Broker: Offset out of range", (0, 9), 2),
        (5, "Broker: Offset out of range", (1, 3), 1),
        (2, "Broker: Offset out of range", (7, 9), 7),  # these were deleted
    ],
)
async def test_lane_whose_offset_is_not_there_goes_on_where_nothing_is_passed_over(
    settled: int, said: str, bounds: tuple[int, int], at: int, caplog: pytest.LogCaptureFixture
) -> None:
    membership, consumer, reader = await opened()
    await reader.ack(await read(reader, settled))
    assert await lost(membership, consumer, said, bounds) == at
    assert "lane 0" in caplog.text
    membership.group.lanes[0].add([(offset, make(b"%d" % offset)) for offset in range(at, 10)])
    left = [offset for offset in range(COUNT) if settled <= offset < at]
    found = await read(reader, 20)
    assert [each.position.offset for each in found] == [*left, *range(at, 10)]
    await reader.ack(found)
    await reader.close()
    assert coordinator_of(membership).commits[-1][0] == 10


async def test_reader_that_has_what_the_log_lost_ends_and_settles_none_of_what_stands_there_now() -> None:
    membership, consumer, reader = await opened()
    held = await read(reader)
    await lost(membership, consumer, TRUNCATED, (0, 9))
    with pytest.raises(Closed, match="lost its end"):
        await read_on(reader, held)
    await membership.end()
    assert coordinator_of(membership).commits[-1][0] <= 3


async def test_lane_waits_until_it_is_known_whether_the_topic_is_the_same() -> None:
    """Else what the new one has at its beginning would be passed over."""
    membership, consumer, reader = await opened()
    answers: list[EvermqError | Topic] = [Unavailable("nobody answers")] * 2

    async def asked(topic: Topic) -> Topic:
        answer = answers.pop() if answers else topic
        if isinstance(answer, EvermqError):
            raise answer
        return answer

    membership._look_at_topic = asked
    assert await lost(membership, consumer, TRUNCATED, (0, 9)) == 3
    assert not answers
    await reader.close()


async def test_membership_of_a_topic_that_was_made_anew_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_MS", 1)
    membership, consumer, reader = await opened()
    held = await read(reader, 2)

    async def anew(topic: Topic) -> Topic:
        membership.end_before("another")
        return topic.anew("another", 1)

    membership._look_at_topic = anew
    with pytest.raises(Closed, match="made anew"):
        await read_on(reader, held[:1])
    with pytest.raises(Closed):
        await reader.ack(held[1:])
    await membership.end()
    assert consumer.is_closed
