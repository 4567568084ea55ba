"""What a batch carries when it is sent again, over brokers that are played: never the numbers of another one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import RequestTimedOutError
from aiokafka.record.memory_records import MemoryRecords
from confluent_kafka import KafkaError

from evermq.adapters.kafka import sender
from evermq.adapters.kafka.link import Line
from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.kafka.request import Produce
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM, SystemClock
from evermq.errors import EvermqError, Rejected, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.position import Position

make = MessageFactory()
OK = KafkaError.NO_ERROR
PERHAPS = KafkaError.REQUEST_TIMED_OUT
FORGOTTEN = [KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID]

Sent = tuple[int, int, list[bytes]]  # producer id, sequence, bodies


class Broker:
    """In place of the driver's client: answers the batches that reach it, of one lane, with these codes or errors, and
    then well. Waits with each answer until it may go on."""

    cluster = SimpleNamespace(
        leader_for_partition=lambda partition: 0, partitions_for_topic=lambda topic: [0], unauthorized_topics=set()
    )

    def __init__(self, *answers: int | Exception) -> None:
        self._answers = list(answers)
        self._ids = 0
        self._end = 0
        self.sent: list[Sent] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_connect = asyncio.Event()
        self.may_connect.set()

    async def ready(self, node: int, *, group: int = 0) -> bool:
        await self.may_connect.wait()
        return True

    def get_random_node(self) -> int:
        return 0

    async def force_metadata_update(self) -> bool:
        return True

    async def send(self, node: int, request: Any, *, group: int = 0) -> Any:
        if not isinstance(request, Produce):
            self._ids += 1
            return SimpleNamespace(error_code=0, producer_id=self._ids, producer_epoch=0)
        if not request._topics:
            return SimpleNamespace(topics=[])
        [[batch]] = request._topics.values()
        records = MemoryRecords(bytes(batch.payload or b"")).next_batch()
        assert records is not None
        self.sent.append((records.producer_id, records.base_sequence, [each.value for each in records]))
        await self.may_answer.wait()
        answer = self._answers.pop(0) if self._answers else OK
        if isinstance(answer, Exception):
            raise answer
        base = self._end
        self._end += batch.count if answer == OK else 0
        return SimpleNamespace(topics=[("orders", [(0, answer, base)])])


class Clock(SystemClock):
    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(0)


async def queue_over(broker: Broker) -> KafkaQueue:
    sender = Sender(Settings(bootstrap="h:1", send_ms_max=5_000), Clock())
    await sender.client.close()
    sender.client = broker
    place: Any = SimpleNamespace(sender=sender, check=lambda: None, clock=SYSTEM, compression=0)
    return KafkaQueue(place, Topic("orders", "1", 1, 1, {}))


async def outcome(queue: KafkaQueue, *bodies: bytes) -> Position | EvermqError:
    try:
        return (await queue.append([make(body, key=b"k") for body in bodies]))[0]
    except EvermqError as error:
        return error


async def test_numbers_go_on_by_as_many_as_the_batch_before_had_records() -> None:
    """A number that was given before is taken for a copy: acknowledged, and stored by nobody."""
    broker = Broker()
    queue = await queue_over(broker)
    for bodies in ([b"a", b"b", b"c"], [b"d", b"e"], [b"f"]):
        assert isinstance(await outcome(queue, *bodies), Position)
    assert broker.sent == [(1, 0, [b"a", b"b", b"c"]), (1, 3, [b"d", b"e"]), (1, 5, [b"f"])]


async def test_what_may_have_landed_is_sent_again_as_it_was() -> None:
    broker = Broker(PERHAPS, RequestTimedOutError())
    queue = await queue_over(broker)
    broker.may_answer.clear()
    first = asyncio.create_task(outcome(queue, b"a", b"b"))
    while not broker.sent:
        await asyncio.sleep(0)
    later = asyncio.create_task(outcome(queue, b"c"))
    await asyncio.sleep(0)
    broker.may_answer.set()
    assert [isinstance(each, Position) for each in await asyncio.gather(first, later)] == [True, True]
    assert broker.sent == [(1, 0, [b"a", b"b"])] * 3 + [(1, 2, [b"c"])]


@pytest.mark.parametrize("perhaps", [PERHAPS, RequestTimedOutError()])
@pytest.mark.parametrize(
    "refused", [*FORGOTTEN, KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP]
)
async def test_batch_that_may_have_landed_is_not_sent_in_another_way(perhaps: int | Exception, refused: int) -> None:
    """Under another id or in parts it would be stored twice; and what follows must not have its numbers, under which
    a broker that has it would store nothing else."""
    broker = Broker(perhaps, OK, perhaps, refused)
    queue = await queue_over(broker)
    assert isinstance(await outcome(queue, b"before"), Position)
    found = await asyncio.gather(outcome(queue, b"a"), outcome(queue, b"b"))
    assert [type(each) for each in found] == [Uncertain, Uncertain]
    assert broker.sent[2:] == [(1, 1, [b"a", b"b"])] * 2
    assert isinstance(await outcome(queue, b"after"), Position)
    assert broker.sent[4:] == [(2, 0, [b"after"])]


@pytest.mark.parametrize("code", FORGOTTEN)
async def test_batch_that_has_certainly_not_landed_goes_under_another_id_where_the_broker_forgot(code: int) -> None:
    broker = Broker(OK, code)
    queue = await queue_over(broker)
    assert isinstance(await outcome(queue, b"before"), Position)
    assert isinstance(await outcome(queue, b"a"), Position)
    assert broker.sent == [(1, 0, [b"before"]), (1, 1, [b"a"]), (2, 0, [b"a"])]


async def test_what_is_sent_again_stays_before_what_came_meanwhile() -> None:
    broker = Broker(KafkaError.NOT_LEADER_FOR_PARTITION)
    queue = await queue_over(broker)
    broker.may_answer.clear()
    appends = [asyncio.create_task(outcome(queue, b"first"))]
    while not broker.sent:
        await asyncio.sleep(0)
    appends.append(asyncio.create_task(outcome(queue, b"second")))
    await asyncio.sleep(0)
    broker.may_answer.set()
    offsets = [each.offset for each in await asyncio.gather(*appends) if isinstance(each, Position)]
    assert offsets == [0, 1]
    assert [bodies for _, _, bodies in broker.sent] == [[b"first"], [b"first"], [b"second"]]


async def test_half_of_what_is_under_way_stays_behind_the_other_half() -> None:
    """All of it in one batch would end together, and leave the broker idle while their callers make the next ones."""
    broker = Broker()
    queue = await queue_over(broker)
    broker.may_answer.clear()
    appends = [asyncio.create_task(outcome(queue, b"a"))]
    while not broker.sent:
        await asyncio.sleep(0)
    for body in (b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
        appends.append(asyncio.create_task(outcome(queue, body)))
        await asyncio.sleep(0)
    broker.may_answer.set()
    offsets = [each.offset for each in await asyncio.gather(*appends) if isinstance(each, Position)]
    assert offsets == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [bodies for _, _, bodies in broker.sent] == [[b"a"], [b"b", b"c"], [b"d", b"e", b"f", b"g"], [b"h"]]


async def test_what_waits_goes_before_a_caller_who_has_his_answer_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """He may take long to make the next batch, and the broker would be idle meanwhile."""
    broker = Broker()
    queue = await queue_over(broker)
    await outcome(queue, b"first")
    written = []

    def write(client: Broker, line: Line, request: Produce) -> Any:
        written.append(request)
        return client.send(line.node, request)

    monkeypatch.setattr(sender, "write", write)
    broker.may_answer.clear()
    large = bytes(100_000)

    async def append() -> int:
        await outcome(queue, large)
        return len(written)

    one, two = asyncio.create_task(append()), asyncio.create_task(append())
    await asyncio.sleep(0)
    three = asyncio.create_task(append())
    await asyncio.sleep(0)
    assert len(written) == 1
    broker.may_answer.set()
    assert [await each for each in (one, two, three)] == [2, 2, 2]


async def test_appends_that_are_refused_together_keep_their_order_when_they_are_sent_apart() -> None:
    broker = Broker(KafkaError.INVALID_RECORD, OK, KafkaError.INVALID_RECORD)
    queue = await queue_over(broker)
    found = await asyncio.gather(*(outcome(queue, body) for body in (b"a", b"b", b"c")))
    assert [type(each) for each in found] == [Position, Rejected, Position]
    assert [bodies for _, _, bodies in broker.sent] == [[b"a", b"b", b"c"], [b"a"], [b"b"], [b"c"]]


async def test_what_its_caller_gave_up_before_it_left_is_not_sent() -> None:
    """He was told that it is not appended, and may have sent it elsewhere."""
    broker = Broker()
    queue = await queue_over(broker)
    broker.may_answer.clear()
    first = asyncio.create_task(outcome(queue, b"first"))
    while not broker.sent:
        await asyncio.sleep(0)
    given_up = asyncio.create_task(queue.append([make(b"given up", key=b"k")]))
    stays = asyncio.create_task(outcome(queue, b"stays"))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    broker.may_answer.set()
    await asyncio.gather(first, stays)
    assert [bodies for _, _, bodies in broker.sent] == [[b"first"], [b"stays"]]


async def test_what_its_caller_gave_up_while_the_broker_was_waited_for_is_not_sent() -> None:
    broker = Broker()
    queue = await queue_over(broker)
    broker.may_connect.clear()
    given_up = asyncio.create_task(queue.append([make(b"given up", key=b"k")]))
    stays = asyncio.create_task(outcome(queue, b"stays"))
    for _ in range(5):
        await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    broker.may_connect.set()
    assert isinstance(await stays, Position)
    assert [bodies for _, _, bodies in broker.sent] == [[b"stays"]]


async def test_what_is_on_its_way_when_time_is_over_is_uncertain_and_what_waits_is_not_appended() -> None:
    broker = Broker()
    queue = await queue_over(broker)
    sender: Any = queue._place.sender
    broker.may_answer.clear()
    appends = [asyncio.create_task(outcome(queue, b"on its way"))]
    while not broker.sent:
        await asyncio.sleep(0)
    appends.append(asyncio.create_task(outcome(queue, b"waits")))
    await asyncio.sleep(0)
    [lane] = sender._lanes.values()
    for batch in (lane.batch, *lane.waiting):
        for share in batch.shares:
            sender._give_up("orders", share.ticket)
    assert [type(each) for each in await asyncio.gather(*appends)] == [Uncertain, Unavailable]
    broker.may_answer.set()
    assert isinstance(await outcome(queue, b"later"), Position)
    assert [bodies for _, _, bodies in broker.sent] == [[b"on its way"], [b"later"]]
