"""Kafka's clients as people use them without a framework, each with the same promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from brokers.arena import BATCH, LANES, SENDERS, Arena, batches, consuming, producing, records
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = [
    "aiokafka_batches",
    "aiokafka_send",
    "aioproducer_produce",
    "confluent_consume",
    "confluent_produce",
    "connected",
]

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


async def connected(arena: Arena) -> Any:
    """aiokafka's producer, with the same promises."""
    from aiokafka import AIOKafkaProducer

    batch, request = 1_000_000, 8 << 20
    producer = AIOKafkaProducer(
        bootstrap_servers=arena.bootstrap, enable_idempotence=True, max_batch_size=batch, max_request_size=request
    )
    await producer.start()
    return producer


def aiokafka_send(arena: Arena, size: int, tasks: int) -> Contender:
    """`await producer.send_and_wait()` in many tasks."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        body, topic = bytes(size), arena.topic()
        with asyncio.Runner() as runner:
            producer = runner.run(connected(arena))

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
        topic = arena.stocked(messages, 1_024)

        def span() -> tuple[int, float]:
            with consuming(arena.bootstrap, topic) as consumer:
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
                return done - len(first), time.perf_counter() - begin

        yield lambda seconds: spans_per_second(span, seconds)

    return Contender("confluent-kafka consume(500) and commit()", open_)


def aiokafka_batches(arena: Arena, size: int) -> Contender:
    """create_batch() and send_batch(), several under way: the fastest that it has, with partitions chosen by hand."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        stock = [records(batch) for batch in batches(size)]
        topic = arena.topic()
        with asyncio.Runner() as runner:
            producer = runner.run(connected(arena))

            async def work(seconds: float) -> float:
                begin = time.perf_counter()
                end = begin + seconds

                async def send(number: int) -> int:
                    done = 0
                    for some in cycle(stock[number::SENDERS]):
                        batch = producer.create_batch()
                        for timestamp, key, body, headers in some:
                            if batch.append(timestamp=timestamp, key=key, value=body, headers=headers) is None:
                                break
                            done += 1
                        await (await producer.send_batch(batch, topic, partition=number % LANES))
                        if time.perf_counter() >= end:
                            return done
                    return done

                done = sum(await asyncio.gather(*map(send, range(SENDERS))))
                return done / (time.perf_counter() - begin)

            yield lambda seconds: runner.run(work(seconds))
            runner.run(producer.stop())

    return Contender(f"aiokafka send_batch(), batches of {BATCH} x {size} B", open_)


def aioproducer_produce(arena: Arena, size: int, tasks: int) -> Contender:
    """`await (await producer.produce())` in many tasks; it sends what it holds when all tasks wait. No headers: it
    has none."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        from confluent_kafka.aio import AIOProducer

        body, topic = bytes(size), arena.topic()
        settings = {"bootstrap.servers": arena.bootstrap, "enable.idempotence": True, "acks": "all"}
        with asyncio.Runner() as runner:

            async def start() -> Any:
                return AIOProducer(settings, batch_size=tasks, buffer_timeout=0.1)

            producer = runner.run(start())

            async def work(seconds: float) -> float:
                begin = time.perf_counter()
                end = begin + seconds

                async def send() -> int:
                    done = 0
                    while time.perf_counter() < end:
                        await (await producer.produce(topic, body))
                        done += 1
                    return done

                done = sum(await asyncio.gather(*(send() for _ in range(tasks))))
                return done / (time.perf_counter() - begin)

            yield lambda seconds: runner.run(work(seconds))
            runner.run(producer.close())

    return Contender(f"confluent-kafka AIOProducer, {tasks} tasks", open_)
