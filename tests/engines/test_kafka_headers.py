"""Headers of foreign producers: whatever bytes they are they can be read, and a pump carries them on as they were."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from evermq.adapters.address import parse
from evermq.adapters.kafka.batch import LaneBatch
from evermq.adapters.open import open_log, open_place
from evermq.drills.engines.engine import Engine
from evermq.ha.pump import Pump
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue

message = MessageFactory()
HEADERS: list[list[tuple[str, bytes | None]]] = [
    [("latin", b"caf\xe9"), ("bytes", bytes(range(256)))],
    [("text", "é".encode()), ("surrogate", b"\xed\xb3\xa9"), ("größe", b"\xff"), ("", b"no name")],
    [("null", None), ("empty", b""), ("nul", b"a\0b")],
    [("twice", b"1"), ("between", b"\xe9"), ("twice", None), ("twice", b"\xc3")],
    [],
]


def bootstrap(server: Engine) -> str:
    return parse(server.url("x")).place


async def read(queue: Queue, count: int) -> list[Delivery]:
    reader = await queue.reader("g")
    found: list[Delivery] = []
    while len(found) < count:
        found += await reader.read(count_max=10, wait_ms=10_000)
    await reader.close()
    return found


def raw(server: Engine, topic: str, count: int) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": bootstrap(server), "group.id": "other"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Any] = []
    while len(found) < count:
        found += consumer.consume(count - len(found), 10)
    consumer.close()
    return found


async def test_pumps_carry_headers_on_as_a_foreign_producer_wrote_them(
    kafka_server: Engine, topic: str, tmp_path: Path
) -> None:
    place, log = await open_place(kafka_server.url()), await open_log(tmp_path)
    for name in (f"{topic}-from", f"{topic}-to"):
        await place.create(name, lanes=1)
    producer = Producer({"bootstrap.servers": bootstrap(kafka_server)})
    for number, headers in enumerate(HEADERS):
        producer.produce(f"{topic}-from", b"%d" % number, b"k", headers=headers)
    await asyncio.to_thread(producer.flush, 10)
    source, between, target = [
        await place.queue(f"{topic}-from"),
        await log.queue("between"),
        await place.queue(f"{topic}-to"),
    ]
    pumps = [Pump(source, between), Pump(between, target)]
    for pump in pumps:
        pump.start()
    carried = await asyncio.to_thread(raw, kafka_server, f"{topic}-to", len(HEADERS))
    for pump in pumps:
        await pump.close()
    kept = [[pair for pair in each.headers() if not pair[0].startswith("evermq-")] for each in carried]
    assert kept == HEADERS
    assert [each.value() for each in carried] == [b"%d" % number for number in range(len(HEADERS))]
    found = [delivery.message for delivery in await read(target, len(HEADERS))]
    assert [each.id for each in found] == [f"{topic}-from/0/{number}" for number in range(len(HEADERS))]
    assert found[0].headers["bytes"].encode("utf-8", "surrogateescape") == bytes(range(256))
    await place.close()
    await log.close()


async def test_header_whose_name_is_not_utf_8_keeps_nobody_from_reading(
    kafka_server: Engine, topic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built = LaneBatch._built
    monkeypatch.setattr(LaneBatch, "_built", lambda batch: built(batch).replace(b"caf__", b"caf\xc3\x28"))
    place = await open_place(kafka_server.url())
    await place.create(topic, lanes=1)
    queue = await place.queue(topic)
    sent = [message("before", key="k"), message("x", key="k", headers={"a": "b", "caf__": "c"}), message("after")]
    await queue.append(sent)
    found = [delivery.message for delivery in await read(queue, 3)]
    assert [each.body for each in found] == [b"before", b"x", b"after"]
    assert (found[1].id, found[1].key) == (f"{topic}/0/1", b"k")
    assert dict(found[1].headers) == {"evermq-unread-headers": "1"}
    assert f"{topic}/0/1" in caplog.text
    await place.close()
