"""evermq over Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle

from brokers.arena import BATCH, SENDERS, Arena, batches
from evermq.adapters.open import open_queue
from evermq.client.consumer import Consumer
from evermq.client.producer import Producer
from evermq.port import Delivery, Queue
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["appending", "handling", "reading", "sending"]

_GROUPS = count(1)


@contextmanager
def _open(url: str) -> Iterator[tuple[asyncio.Runner, Queue]]:
    with asyncio.Runner() as runner:
        queue = runner.run(open_queue(url))
        yield runner, queue
        runner.run(queue.close())


def appending(arena: Arena, size: int) -> Contender:
    """Batches of 1000, several appends under way."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        stock = batches(size)
        with _open(f"{arena.url}/{arena.topic()}") as (runner, queue):

            async def work(seconds: float) -> float:
                begin = time.perf_counter()
                end = begin + seconds

                async def send(number: int) -> int:
                    done = 0
                    for batch in cycle(stock[number::SENDERS]):
                        await queue.append(batch)
                        done += len(batch)
                        if time.perf_counter() >= end:
                            return done
                    return done

                done = sum(await asyncio.gather(*map(send, range(SENDERS))))
                return done / (time.perf_counter() - begin)

            yield lambda seconds: runner.run(work(seconds))

    return Contender(f"evermq append, batches of {BATCH} x {size} B", open_)


def sending(arena: Arena, size: int, tasks: int) -> Contender:
    """`await producer.send()` in many tasks."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        body = bytes(size)
        with _open(f"{arena.url}/{arena.topic()}") as (runner, queue):

            async def work(seconds: float) -> float:
                begin = time.perf_counter()
                end = begin + seconds
                async with Producer(queue) as producer:

                    async def send() -> int:
                        done = 0
                        while time.perf_counter() < end:
                            await producer.send(body)
                            done += 1
                        return done

                    done = sum(await asyncio.gather(*(send() for _ in range(tasks))))
                return done / (time.perf_counter() - begin)

            yield lambda seconds: runner.run(work(seconds))

    return Contender(f"evermq send, {tasks} tasks", open_)


def reading(arena: Arena, messages: int, size: int) -> Contender:
    """read(500) and ack, from the first message to the last, by a new group each time."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        with _open(f"{arena.url}/{arena.stocked(messages, size)}") as (runner, queue):

            async def span() -> tuple[int, float]:
                reader = await queue.reader(f"ours-{next(_GROUPS)}")
                found = await reader.read(count_max=500, wait_ms=10_000)
                first = len(found)
                begin = time.perf_counter()
                await reader.ack(found)
                done = first
                while done < messages:
                    found = await reader.read(count_max=500, wait_ms=10_000)
                    await reader.ack(found)
                    done += len(found)
                took = time.perf_counter() - begin
                await reader.close()
                return done - first, took

            yield lambda seconds: spans_per_second(lambda: runner.run(span()), seconds)

    return Contender("evermq read and ack", open_)


def handling(arena: Arena, messages: int, size: int) -> Contender:
    """A handler a message, acknowledged when it returns."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        with _open(f"{arena.url}/{arena.stocked(messages, size)}") as (runner, queue):

            async def span() -> tuple[int, float]:
                done = 0
                begin = 0.0
                over = asyncio.Event()

                async def handle(delivery: Delivery) -> None:
                    nonlocal done, begin
                    done += 1
                    if done == 1:
                        begin = time.perf_counter()
                    if done == messages:
                        over.set()

                async with Consumer(queue, f"ours-{next(_GROUPS)}", handle):
                    await over.wait()
                    took = time.perf_counter() - begin
                return done, took

            yield lambda seconds: spans_per_second(lambda: runner.run(span()), seconds)

    return Contender("evermq Consumer with a handler", open_)
