"""Appends that are under way at the same time share requests, and nothing but requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.engines.conftest import started

from evermq.adapters.address import parse
from evermq.adapters.kafka import sender
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.kafka.request import Produce
from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.kafka import Kafka
from evermq.errors import EvermqError, Partial, Rejected, TooLarge, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.port import Queue
from evermq.position import Position

message = MessageFactory()


async def connected(server: Engine, options: str = "") -> KafkaPlace:
    found = await open_place(server.url() + options)
    assert isinstance(found, KafkaPlace)
    return found


@pytest.fixture
async def place(kafka_server: Engine) -> AsyncIterator[KafkaPlace]:
    found = await connected(kafka_server)
    yield found
    await found.close()


async def everything(queue: Queue) -> list[bytes]:
    """All bodies, as a new group reads them: of its own name, since Kafka has one group of a name for all topics."""
    reader = await queue.reader(f"everything-{queue.name}")
    found: list[bytes] = []
    while batch := await reader.read(count_max=1_000, wait_ms=2_000):
        found += [delivery.message.body for delivery in batch]
        await reader.ack(batch)
    await reader.close()
    return found


async def test_appends_that_come_while_a_lane_is_busy_go_together(
    place: KafkaPlace, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.create(topic, lanes=2)
    queue = await place.queue(topic)
    await queue.append([message("first", key=b"k")])
    requests = 0

    def counted(*arguments: Any) -> Produce:
        nonlocal requests
        requests += 1
        return Produce(*arguments)

    monkeypatch.setattr(sender, "Produce", counted)
    bodies = [b"%03d" % number for number in range(400)]
    appends = [asyncio.create_task(queue.append([message(body, key=b"k")])) for body in bodies[:10]]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first ten are on their way
    appends += [asyncio.create_task(queue.append([message(body, key=b"k")])) for body in bodies[10:]]
    positions = [(await append)[0] for append in appends]
    assert requests < 20
    assert [position.offset for position in positions] == list(range(1, 401))
    assert await everything(queue) == [b"first", *bodies]


async def test_nobody_is_refused_for_what_others_append(place: KafkaPlace, topic: str) -> None:
    """A compacted topic refuses a record without a key, and the batch that it stands in."""
    await place.admin.create(topic, lanes=1, replicas=1, config={"cleanup.policy": "compact"})
    async with asyncio.timeout(10):
        while topic not in await place.topics():  # a broker answers before it knows the topic itself
            await asyncio.sleep(0.05)
    queue = await place.queue(topic)
    batches = [[message("a", key="k"), message("b", key="l")], [message("c")], [message("d", key="k")]]
    found = await asyncio.gather(*map(queue.append, batches), return_exceptions=True)
    assert [type(each) is Rejected for each in found] == [False, True, False]
    assert [len(found[0]), len(found[2])] == [2, 1]  # type: ignore[arg-type]
    assert await everything(queue) == [b"a", b"b", b"d"]


async def test_limit_that_is_lowered_while_a_queue_is_open_costs_no_message_that_fits(
    place: KafkaPlace, kafka_server: Engine, topic: str
) -> None:
    await place.create(topic, lanes=4)
    queue = await place.queue(topic)
    await limit(kafka_server, topic, 20_000)
    given = [message(bytes(1_000), key=b"k%d" % (number % 40)) for number in range(800)]
    large = message(bytes(30_000), key=b"k0")
    async with asyncio.timeout(30):  # a broker answers before it goes by the new limit
        while not isinstance(await outcome(queue, bytes(30_000)), TooLarge):
            await asyncio.sleep(0.05)
    before = await queue.backlog(f"everything-{topic}")
    with pytest.raises(Partial) as caught:
        await queue.append([*given[:400], large, *given[400:]])
    refused = {row: type(each) for row, each in enumerate(caught.value.outcomes) if isinstance(each, EvermqError)}
    assert refused == {400: TooLarge}
    assert len(await everything(queue)) == before + len(given)
    positions = await queue.append(given)
    for key in {each.key for each in given}:
        offsets = [at.offset or 0 for each, at in zip(given, positions, strict=True) if each.key == key]
        assert offsets == sorted(offsets)


async def limit(server: Engine, topic: str, bytes_max: int) -> None:
    """As `kafka-configs --alter --add-config max.message.bytes=…`."""
    admin = AdminClient({"bootstrap.servers": parse(server.url("x")).place})
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        await asyncio.wrap_future(future)


@pytest.fixture
def fresh_server() -> Iterator[Engine]:
    """A node elects every partition anew when it was frozen: with 1,200 of other tests, joining would take 12 s."""
    yield from started(Kafka)


async def test_what_was_unavailable_is_not_appended_when_the_broker_comes_back(
    fresh_server: Engine, topic: str
) -> None:
    place = await connected(fresh_server, "?send_ms_max=3000&request_ms_max=1000")
    await place.create(topic, lanes=1)
    queue = await place.queue(topic)
    await queue.append([message("before", key="k")])
    node = fresh_server.leader(topic)
    node.freeze()
    appends = [asyncio.create_task(outcome(queue, b"on its way"))]
    await asyncio.sleep(0.3)
    appends.append(asyncio.create_task(outcome(queue, b"waits")))
    await asyncio.sleep(2)
    appends.append(asyncio.create_task(outcome(queue, b"comes late")))
    on_its_way, waits = await asyncio.gather(*appends[:2])
    node.thaw()
    late = await appends[2]
    found = await everything(queue)
    await place.close()
    assert isinstance(on_its_way, Uncertain)
    assert isinstance(waits, Unavailable)
    assert b"waits" not in found
    assert isinstance(late, Uncertain | Unavailable) or found[-1] == b"comes late"


async def outcome(queue: Queue, body: bytes) -> Position | EvermqError:
    try:
        return (await queue.append([message(body, key="k")]))[0]
    except EvermqError as error:
        return error
