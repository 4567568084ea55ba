"""A broker that takes smaller batches than were sent to it, and what that says of the messages in them: nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import RequestTimedOutError
from aiokafka.record.memory_records import MemoryRecords
from confluent_kafka import KafkaError

from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import EvermqError, Partial, TooLarge, Uncertain
from evermq.message import Message, MessageFactory
from evermq.position import Position

make = MessageFactory()
KIB = 1_024
BYTES_MAX = 20 * KIB


class Broker:
    """As the driver's client sees it. It refuses batches that are larger than `bytes_max`, by `code`; taken: ids, by
    lane; refused: the sizes. silent: how many requests, from the first on, are left without an answer."""

    cluster = SimpleNamespace(
        leader_for_partition=lambda partition: 0, partitions_for_topic=lambda topic: [0], unauthorized_topics=set()
    )

    def __init__(self, code: int = KafkaError.MSG_SIZE_TOO_LARGE, *, silent: int = 0) -> None:
        self.code, self.silent = code, silent
        self.bytes_max = BYTES_MAX
        self.taken: dict[int, list[str]] = {}
        self.refused: list[int] = []
        self.requests = 0

    def add_topic(self, topic: str) -> None: ...

    async def ready(self, node: int, *, group: int = 0) -> bool:
        return True

    async def send(self, node: int, request: Any, *, group: int = 0) -> Any:
        await asyncio.sleep(0)
        self.requests += 1
        if self.silent:
            self.silent -= 1
            raise RequestTimedOutError
        return SimpleNamespace(topics=[("orders", [self._answer(batch) for batch in request._topics["orders"]])])

    def _answer(self, batch: Any) -> tuple[int, int, int]:
        if len(batch.payload) > self.bytes_max:
            self.refused.append(len(batch.payload))
            return batch.lane, self.code, -1
        found = MemoryRecords(bytes(batch.payload)).next_batch()
        assert found
        there = self.taken.setdefault(batch.lane, [])
        assert found.base_sequence == len(there)
        base = len(there)
        there += [dict(each.headers)["evermq-id"].decode() for each in found]
        return batch.lane, 0, base

    async def force_metadata_update(self) -> bool:
        return True


async def queue_over(broker: Broker, lanes: int = 1) -> KafkaQueue:
    sender = Sender(Settings(bootstrap="h:1", send_ms_max=5_000))
    await sender.client.close()
    sender.client = broker
    sender._identity = 1, 0
    place: Any = SimpleNamespace(sender=sender, check=lambda: None, clock=SYSTEM, compression=0)
    return KafkaQueue(place, Topic("orders", "1", lanes, 1, {}))


def messages(count: int, size: int = KIB, keys: int = 1) -> list[Message]:
    return [make(bytes(size), key=b"k%d" % (number % keys)) for number in range(count)]


def ids(given: list[Message]) -> list[str]:
    return [each.id for each in given]


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE])
async def test_messages_of_a_batch_that_is_over_the_limit_are_taken_in_smaller_ones_in_order(code: int) -> None:
    broker = Broker(code)
    queue = await queue_over(broker)
    given = messages(500)
    positions = await queue.append(given)
    assert [each.offset for each in positions] == list(range(500))
    assert broker.taken[0] == ids(given)


async def test_only_the_message_that_is_over_the_limit_by_itself_is_too_large() -> None:
    broker = Broker()
    queue = await queue_over(broker, lanes=4)
    given = messages(400, keys=40)
    given[100] = make(bytes(2 * BYTES_MAX), key=b"k20")
    with pytest.raises(Partial) as caught:
        await queue.append(given)
    refused = {row: type(each) for row, each in enumerate(caught.value.outcomes) if not isinstance(each, Position)}
    assert refused == {100: TooLarge}
    fine = [each for row, each in enumerate(given) if row != 100]
    taken = [id for there in broker.taken.values() for id in there]
    assert sorted(taken) == sorted(ids(fine))
    for key in {each.key for each in fine}:
        mine = [each.id for each in fine if each.key == key]
        assert [id for id in taken if id in mine] == mine


async def test_appends_of_many_callers_are_taken_in_their_order() -> None:
    broker = Broker()
    queue = await queue_over(broker)
    given = messages(300)
    positions = await asyncio.gather(*(queue.append([each]) for each in given))
    assert [each.offset for [each] in positions] == list(range(300))
    assert broker.taken[0] == ids(given)


async def test_later_batches_are_as_small_until_the_queue_is_opened_again_and_a_large_message_still_goes() -> None:
    broker = Broker()
    queue = await queue_over(broker, lanes=4)
    await queue.append(messages(400, keys=40))
    broker.refused.clear()
    await queue.append(messages(400, keys=40))
    assert broker.refused == []
    await queue.append(messages(1, size=BYTES_MAX - KIB))
    broker.bytes_max, broker.requests = 1 << 20, 0
    queue._place.sender.watch("orders")
    await queue.append(messages(400))
    assert broker.requests == 1


async def test_batch_that_may_have_landed_before_is_not_sent_in_other_pieces() -> None:
    broker = Broker(silent=1)
    queue = await queue_over(broker)
    outcome: EvermqError | None = None
    try:
        await queue.append(messages(50))
    except EvermqError as error:
        outcome = error
    assert isinstance(outcome, Uncertain)
    assert broker.taken == {}
