"""Kafka's clients as people use them without evermq, each with the same promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle
from typing import Any

from brokers.arena import LANES, Arena, batches, producing, records
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["aiokafka_send", "confluent_consume", "confluent_produce", "faststream_publish", "faststream_subscriber"]

_GROUPS = count(1)
_FASTSTREAM = {"faststream": "faststream[confluent]"}
_UNDER_WAY = 20_000


def confluent_produce(arena: Arena, size: int) -> Contender:
    """produce() with a delivery callback, the records those of evermq."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        stock = [record for batch in batches(size) for record in records(batch)]
        topic = arena.topic()
        with producing(arena.bootstrap) as producer:

            def measure(seconds: float) -> float:
                done = 0

                def delivered(error: Any, _: Any) -> None:
                    nonlocal done
                    assert error is None, error
                    done += 1

                begin = time.perf_counter()
                end = begin + seconds
                for sent, (timestamp, key, body, headers) in enumerate(cycle(stock), 1):
                    producer.produce(topic, body, key, timestamp=timestamp, headers=headers, on_delivery=delivered)
                    if not sent % 100:
                        producer.poll(0)
                        while sent - done > _UNDER_WAY:
                            producer.poll(0.001)
                        if time.perf_counter() >= end:
                            break
                producer.flush(30)
                return done / (time.perf_counter() - begin)

            yield measure

    return Contender(f"confluent-kafka produce() + callback, {size} B", open_)


def aiokafka_send(arena: Arena, size: int, tasks: int) -> Contender:
    """`await producer.send_and_wait()` in many tasks."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        from aiokafka import AIOKafkaProducer

        body, topic = bytes(size), arena.topic()
        with asyncio.Runner() as runner:

            async def start() -> Any:
                producer = AIOKafkaProducer(
                    bootstrap_servers=arena.bootstrap, enable_idempotence=True, max_batch_size=1 << 20
                )
                await producer.start()
                return producer

            producer = runner.run(start())

            async def work(seconds: float) -> float:
                begin = time.perf_counter()
                end = begin + seconds

                async def send() -> int:
                    done = 0
                    while time.perf_counter() < end:
                        await producer.send_and_wait(topic, body, headers=[("evermq-id", b"0123456789abcdef-1")])
                        done += 1
                    return done

                done = sum(await asyncio.gather(*(send() for _ in range(tasks))))
                return done / (time.perf_counter() - begin)

            yield lambda seconds: runner.run(work(seconds))
            runner.run(producer.stop())

    return Contender(f"aiokafka send(), {tasks} tasks", open_)


def confluent_consume(arena: Arena, messages: int) -> Contender:
    """consume(500) and commit() from the first message to the last, by a new group each time."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        from confluent_kafka import Consumer

        topic = arena.stocked(messages, 1_024)

        def span() -> tuple[int, float]:
            consumer = Consumer(
                {
                    "bootstrap.servers": arena.bootstrap,
                    "group.id": f"confluent-{next(_GROUPS)}",
                    "auto.offset.reset": "earliest",
                    "enable.auto.commit": False,
                }
            )
            consumer.subscribe([topic])
            first: list[Any] = []
            while not first:
                first = consumer.consume(500, 0.2)
            begin = time.perf_counter()
            consumer.commit()
            done = len(first)
            while done < messages:
                found = consumer.consume(500, 0.01)
                if found:
                    done += len([message for message in found if message.error() is None])
                    consumer.commit()
            took = time.perf_counter() - begin
            consumer.close()
            return done - len(first), took

        yield lambda seconds: spans_per_second(span, seconds)

    return Contender("confluent-kafka consume(500) and commit()", open_)


def faststream_publish(arena: Arena, size: int, tasks: int) -> Contender:
    """`await broker.publish()` in many tasks."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        from faststream.confluent import KafkaBroker

        body, topic = bytes(size), arena.topic()
        with asyncio.Runner() as runner:
            broker = KafkaBroker(arena.bootstrap, enable_idempotence=True, acks="all", logger=None)
            runner.run(broker.start())

            async def work(seconds: float) -> float:
                begin = time.perf_counter()
                end = begin + seconds

                async def send() -> int:
                    done = 0
                    while time.perf_counter() < end:
                        await broker.publish(body, topic)
                        done += 1
                    return done

                done = sum(await asyncio.gather(*(send() for _ in range(tasks))))
                return done / (time.perf_counter() - begin)

            yield lambda seconds: runner.run(work(seconds))
            runner.run(broker.stop())

    return Contender(f"FastStream publish, {tasks} tasks", open_, _FASTSTREAM)


def faststream_subscriber(arena: Arena, messages: int, stocked: int) -> Contender:
    """A handler a message, as its users write it; the first `messages` of the topic, by a new group each time."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        from faststream.confluent import KafkaBroker

        topic = arena.stocked(stocked, 1_024)

        async def span() -> tuple[int, float]:
            broker: Any = KafkaBroker(arena.bootstrap, logger=None)
            done, begin = 0, 0.0
            over = asyncio.Event()

            subscriber: Any = broker.subscriber(
                topic, group_id=f"faststream-{next(_GROUPS)}", auto_offset_reset="earliest"
            )

            async def handle(body: bytes) -> None:
                nonlocal done, begin
                done += 1
                if done == 1:
                    begin = time.perf_counter()
                if done == messages:
                    over.set()

            subscriber(handle)
            await broker.start()
            await asyncio.wait_for(over.wait(), 60)
            took = time.perf_counter() - begin
            await broker.stop()
            return messages, took

        yield lambda seconds: spans_per_second(lambda: asyncio.run(span()), seconds)

    return Contender(f"FastStream subscriber, {LANES} lanes", open_, _FASTSTREAM)
