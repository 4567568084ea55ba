"""Frameworks over Kafka as their users write for them, each with the same promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from brokers.arena import LANES, Arena
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["faststream_publish", "faststream_subscriber", "kombu_consumer", "kombu_publish"]

_GROUPS = count(1)
_FASTSTREAM = {"faststream": "faststream[confluent]"}
_KOMBU = {"kombu": "kombu"}


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


@contextmanager
def _kombu(arena: Arena, topic: str, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A connection, and the queue that stands for a topic."""
    from kombu import Connection, Exchange, Queue

    queue = Queue(topic, Exchange(topic, type="direct"), routing_key=topic)
    with Connection(f"confluentkafka://{arena.bootstrap}", transport_options=options) as connection:
        yield connection, queue


def kombu_publish(arena: Arena, size: int) -> Contender:
    """`producer.publish()`, which waits for the broker each time; it does so from a thread, as it has no asyncio."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        body, topic = bytes(size), arena.topic()
        promises = {"enable.idempotence": True, "acks": "all", "linger.ms": 0}
        with _kombu(arena, topic, kafka_producer_config=promises) as (connection, queue):
            producer = connection.Producer()

            def measure(seconds: float) -> float:
                begin = time.perf_counter()
                done = 0
                while time.perf_counter() - begin < seconds:
                    producer.publish(body, exchange=queue.exchange, routing_key=topic, declare=[queue])
                    done += 1
                return done / (time.perf_counter() - begin)

            yield measure

    return Contender(f"kombu publish, {size} B", open_, _KOMBU)


def kombu_consumer(arena: Arena, messages: int, size: int) -> Contender:
    """A callback a message, which acknowledges it; messages of its own, as it reads no others."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        topic = arena.topic()
        with _kombu(arena, topic, kafka_producer_config={"enable.idempotence": True}) as (connection, queue):
            producer = connection.Producer()
            for _ in range(messages):
                producer.publish(bytes(size), exchange=queue.exchange, routing_key=topic, declare=[queue])

        def span() -> tuple[int, float]:
            done, begin = 0, 0.0

            def handle(_: Any, message: Any) -> None:
                nonlocal done, begin
                done += 1
                if done == 1:
                    begin = time.perf_counter()
                message.ack()

            settings = {"group.id": f"kombu-{next(_GROUPS)}"}
            options = {"kafka_consumer_config": settings, "wait_time_seconds": 1}
            with _kombu(arena, topic, **options) as (connection, queue):
                with connection.Consumer(queue, callbacks=[handle], accept=["application/data"]):
                    while done < messages:
                        connection.drain_events(timeout=10)
                took = time.perf_counter() - begin
            return messages, took

        yield lambda seconds: spans_per_second(span, seconds)

    return Contender("kombu Consumer with a callback", open_, _KOMBU)
