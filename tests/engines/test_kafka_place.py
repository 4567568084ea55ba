"""Topics, groups, foreign records and traits on a real Kafka."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.engines.any_engine import BILLED, billed

from evermq.adapters.address import parse
from evermq.adapters.kafka.inspect import inspect
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.open import inspect as looked_at
from evermq.adapters.open import open_place, open_queue
from evermq.drills.engines.engine import Engine
from evermq.errors import Misconfigured, NoSuchTopic, Rejected, TooLarge, Unavailable
from evermq.message import MessageFactory
from evermq.port import Delivery, Start
from evermq.traits import Durable

message = MessageFactory()


@pytest.fixture
async def place(kafka_server: Engine) -> AsyncIterator[KafkaPlace]:
    found = await open_place(kafka_server.url())
    assert isinstance(found, KafkaPlace)
    yield found
    await found.close()


@pytest.fixture
def foreign(kafka_server: Engine) -> Iterator[Any]:
    """A producer that knows nothing of evermq."""
    producer = Producer({"bootstrap.servers": kafka_server.url().removeprefix("kafka://").rstrip("/")})
    yield producer
    producer.flush(5)


def bootstrap(server: Engine) -> str:
    return parse(server.url("x")).place


async def test_foreign_records_are_read(place: KafkaPlace, foreign: Any, topic: str) -> None:
    await place.create(topic, lanes=1)
    headers = [("trace", b"1"), ("latin", b"caf\xe9"), ("null", None)]
    foreign.produce(topic, b"body", b"key", headers=headers)
    foreign.produce(topic, None, b"")
    foreign.produce(topic, b"", None)
    foreign.flush(10)
    reader = await (await place.queue(topic)).reader("g")
    found: list[Delivery] = []
    while len(found) < 3:
        found += await reader.read(count_max=10, wait_ms=10_000)
    first, second, third = (delivery.message for delivery in found)
    assert [each.id for each in (first, second, third)] == [f"{topic}/0/{i}" for i in range(3)]
    assert (first.key, first.body) == (b"key", b"body")
    assert first.headers["latin"].encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert first.headers["null"] == ""
    assert (second.key, second.body, dict(second.headers)) == (b"", b"", {"evermq-null-body": "1"})
    assert (third.key, third.body, dict(third.headers)) == (None, b"", {})


async def test_records_are_plain_to_others(place: KafkaPlace, kafka_server: Engine, topic: str) -> None:
    await place.create(topic, lanes=1)
    queue = await place.queue(topic)
    sent = message("body", key="k", headers={"a": "b", "latin": b"\xe9".decode("utf-8", "surrogateescape")})
    null = message("", key="k", headers={"evermq-null-body": "1"})
    await queue.append([sent, null])
    consumer = Consumer({"bootstrap.servers": bootstrap(kafka_server), "group.id": "other"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    first, second = await asyncio.to_thread(consumer.consume, 2, 10)
    consumer.close()
    assert (first.key(), first.value()) == (b"k", b"body")
    assert first.headers() == [("evermq-id", sent.id.encode()), ("a", b"b"), ("latin", b"\xe9")]
    assert first.timestamp()[1] == sent.created_ms
    assert second.value() is None


async def test_keys_go_where_other_clients_send_them(place: KafkaPlace, kafka_server: Engine, topic: str) -> None:
    await place.create(topic, lanes=7)
    queue = await place.queue(topic)
    keys = [f"key-{i}".encode() for i in range(50)]
    ours = [each.lane for each in await queue.append([message("x", key=key) for key in keys])]
    theirs: dict[bytes, int] = {}
    config = {"bootstrap.servers": bootstrap(kafka_server), "partitioner": "murmur2_random"}
    producer = Producer(config)
    for key in keys:
        producer.produce(topic, b"y", key, on_delivery=lambda _, m: theirs.update({m.key(): m.partition()}))
    producer.flush(10)
    assert ours == [str(theirs[key]) for key in keys]


async def test_nothing_is_made_unasked(kafka_server: Engine, place: KafkaPlace, topic: str) -> None:
    with pytest.raises(NoSuchTopic, match=topic):
        await open_queue(kafka_server.url(topic))
    assert topic not in await place.topics()


async def test_topic_that_is_dropped_is_told(place: KafkaPlace, kafka_server: Engine, topic: str) -> None:
    await place.create(topic)
    queue = await open_queue(f"{kafka_server.url(topic)}?send_ms_max=1500")
    await queue.append([message("x")])
    await place.drop(topic)
    with pytest.raises((NoSuchTopic, Unavailable)):
        await queue.append([message("x")])
    await queue.close()


async def test_message_over_the_limit_is_told_with_the_setting(place: KafkaPlace, topic: str) -> None:
    await place.create(topic)
    queue = await place.queue(topic)
    with pytest.raises(TooLarge, match=r"max\.message\.bytes"):
        await queue.append([message(bytes(10 << 20))])


async def test_retention_and_lanes_are_those_of_the_url(kafka_server: Engine, topic: str) -> None:
    place = await open_place(f"{kafka_server.url()}?lanes=3&replicas=1&retention_ms=60000&retention_bytes=4096")
    assert isinstance(place, KafkaPlace)
    assert await place.create(topic) == []
    found = await place.admin.topic(topic)
    assert (found.lanes, found.replicas, found.config["retention.ms"]) == (3, 1, "60000")
    [said] = await place.create(topic, lanes=4)
    assert topic in said
    described = (await place.describe(topic)).settings
    assert {name: described[name] for name in list(described)[:6]} == {
        "partitions": "3",
        "replication.factor": "1",
        "min.insync.replicas": "1",
        "cleanup.policy": "delete",
        "retention.ms": "60000",
        "retention.bytes": "4096",
    }
    await place.close()
    place = await open_place(f"{kafka_server.url()}?retention_ms=-1&retention_bytes=-1")
    assert [said.partition(" has ")[2] for said in await place.create(topic)] == [
        "retention.ms = 60000, not -1; it keeps it",
        "retention.bytes = 4096, not -1; it keeps it",
    ]
    await place.close()


async def test_group_is_reset_by_offset_and_time(place: KafkaPlace, topic: str) -> None:
    await place.create(topic, lanes=1, groups=["g"])
    queue = await place.queue(topic)
    await queue.append([message(str(i)) for i in range(10)])
    await asyncio.sleep(0.02)
    later_ms = place.clock.now_ms()
    await queue.append([message("later")])
    reader = await queue.reader("g")
    with pytest.raises(Rejected, match="readers"):
        await place.reset(topic, "g", Start.OLDEST)
    await reader.close()
    for start, left in ((Start("offset", 4), 7), (Start("time", later_ms), 1), (Start.NEWEST, 0), (Start.OLDEST, 11)):
        await place.reset(topic, "g", start)
        assert await queue.backlog("g") == left


async def test_group_that_is_not_there_is_not_made_by_its_reset(
    place: KafkaPlace, kafka_server: Engine, topic: str
) -> None:
    await place.create(topic, lanes=1)
    with pytest.raises(NoSuchTopic, match="no group nogroup"):
        await place.reset(topic, "nogroup", Start.OLDEST)
    assert (await place.describe(topic)).groups == {}
    command = ["topics", "reset", kafka_server.url(topic), "--group", "nogroup", "--to", "oldest"]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "evermq.daemon.cli", *command)
    assert await asyncio.wait_for(process.wait(), 60) == 2


async def test_what_was_deleted_before_it_was_read_is_no_backlog(place: KafkaPlace, topic: str) -> None:
    await place.create(topic, lanes=1, groups=["g"])
    queue = await place.queue(topic)
    await queue.append([message(str(i), key="k") for i in range(10)])
    reader = await queue.reader("g")
    found = await reader.read(count_max=10, wait_ms=10_000)
    await reader.ack([found[1], found[4], found[7]])
    await reader.close()
    assert await queue.backlog("g") == 7
    for before, left in ((4, 4), (5, 4), (8, 2), (10, 0)):
        deleted = place.admin._client.delete_records([TopicPartition(topic, 0, before)])
        await asyncio.gather(*map(asyncio.wrap_future, deleted.values()))
        assert await queue.backlog("g") == left
        assert (await place.describe(topic)).groups["g"].backlog == left
    await queue.append([message("new", key="k")])
    assert await queue.backlog("g", "0") == 1
    assert await queue.backlog("unknown") == 1


async def test_what_retention_deleted_is_told_and_passed(
    place: KafkaPlace, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await place.create(topic, lanes=1, groups=["g"])
    queue = await place.queue(topic)
    await queue.append([message(str(i), key="k") for i in range(10)])
    deleted = place.admin._client.delete_records([TopicPartition(topic, 0, 6)])
    await asyncio.gather(*map(asyncio.wrap_future, deleted.values()))
    with caplog.at_level(logging.ERROR, "evermq.kafka"):
        reader = await queue.reader("g")
        found: list[Delivery] = []
        while len(found) < 4:
            found += await reader.read(count_max=10, wait_ms=10_000)
    assert [delivery.message.body for delivery in found] == [b"6", b"7", b"8", b"9"]
    assert "0 to 5 were deleted" in caplog.text
    await reader.ack(found)
    assert await queue.backlog("g") == 0


async def test_single_replica_is_told_at_start_and_by_the_doctor(
    place: KafkaPlace, kafka_server: Engine, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await place.create(topic)
    with caplog.at_level(logging.WARNING, "evermq.kafka"):
        queue = await place.queue(topic)
    assert queue.traits.durable == Durable.PROCESS
    assert "replication.factor" in caplog.text
    for name in (topic, f"{topic}-missing"):
        inspection = await inspect(parse(kafka_server.url(name)))
        advice = {finding.setting: finding.advice for finding in inspection.findings}
        assert inspection.durable == Durable.PROCESS
        assert advice["replication.factor"]
        assert advice["min.insync.replicas"]
        assert not advice["unclean.leader.election.enable"]


async def test_topic_that_deletes_by_itself_is_told_at_start_and_by_the_doctor(
    place: KafkaPlace, kafka_server: Engine, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"cleanup.policy": "compact,delete", "retention.ms": "60000", "retention.bytes": "4096"}
    await place.admin.create(topic, lanes=1, replicas=1, config=config)
    await place._seen(topic)
    with caplog.at_level(logging.WARNING, "evermq.kafka"):
        assert (await place.queue(topic)).traits.durable == Durable.MEMORY
    inspection = await looked_at(kafka_server.url(topic))
    assert inspection.durable == Durable.MEMORY
    found = {finding.setting: finding for finding in inspection.findings}
    for setting, value in config.items():
        assert f"{setting} = {value}" in caplog.text
        assert found[setting].value == value
        assert found[setting].advice
    found = {finding.setting: finding for finding in (await looked_at(kafka_server.url())).findings}
    assert not [setting for setting in config if found[setting].advice or found[setting].value == "unknown"]


async def test_class_that_the_url_requires_is_held_to(place: KafkaPlace, kafka_server: Engine, topic: str) -> None:
    await place.create(topic)
    with pytest.raises(Misconfigured, match=r"less than disk: .*replication\.factor"):
        await open_queue(f"{kafka_server.url(topic)}?require=disk")
    await (await open_queue(f"{kafka_server.url(topic)}?require=process")).close()
    for required, status in (("process", 0), ("replicated", 1), ("everything", 2)):
        command = ["doctor", f"{kafka_server.url(topic)}?require={required}"]
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "evermq.daemon.cli", *command)
        assert await asyncio.wait_for(process.wait(), 60) == status


async def test_doctor_needs_no_topic(kafka_server: Engine) -> None:
    inspection = await looked_at(kafka_server.url())
    assert inspection.durable == Durable.PROCESS
    found = {finding.setting: finding for finding in inspection.findings}
    assert "topic" not in found
    assert found["replication.factor"].value == "1"


async def test_nobody_at_the_address_is_told() -> None:
    with pytest.raises(Unavailable, match="127"):
        await open_place("kafka://127.0.0.1:1")


async def test_wrong_compression_is_told(kafka_server: Engine) -> None:
    with pytest.raises(Misconfigured, match=r"compression\.type"):
        await open_place(f"{kafka_server.url()}?compression.type=rar")


async def test_example_for_any_engine_runs(kafka_server: Engine, topic: str) -> None:
    assert await billed(kafka_server.url(topic)) == BILLED


ASKING = """
import asyncio, sys
from evermq.adapters.open import open_place
from evermq.errors import EvermqError
from confluent_kafka.admin import OffsetSpec

async def ask(url, topic, seconds):
    place = await open_place(url)
    admin, loop = place.admin, asyncio.get_running_loop()
    end = loop.time() + seconds
    print("asking", flush=True)
    while loop.time() < end:
        asked = admin.ping(), admin.topic(topic), admin.bounds(topic, [0], OffsetSpec.latest()), admin.groups()
        for each in await asyncio.gather(*asked, return_exceptions=True):
            assert not isinstance(each, BaseException) or isinstance(each, EvermqError), repr(each)
        await asyncio.sleep(0.1)
    for left in range(5, -1, -1):  # a broker that others took for dead needs a while to be one of them again
        try:
            found = await admin.topic(topic)
            break
        except EvermqError:
            assert left
    assert found.lanes == 1

asyncio.run(ask(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


async def test_process_outlives_a_broker_that_stood_still_and_answers_late(
    place: KafkaPlace, kafka_server: Engine, topic: str
) -> None:
    """librdkafka ends the whole process by a failed assertion where it is asked for the cluster in another way."""
    await place.create(topic, lanes=1)
    node = kafka_server.leader(topic)
    command = [sys.executable, "-c", ASKING, kafka_server.url(), topic, "16"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    assert await process.stdout.readline() == b"asking\n"
    node.freeze()
    await asyncio.sleep(9)
    node.thaw()
    assert await asyncio.wait_for(process.wait(), 90) == 0
