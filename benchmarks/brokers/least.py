"""The least that Python must do over Kafka: to await a send (D3), to read (D5), for order by numbers (F6).

Nothing here can fail, come back or be taken over. What separates evermq from these is evermq's; what separates these
from the peers is the machine's, Python's and the driver's.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, repeat
from typing import Any

from brokers.arena import LANES, Arena, consuming
from brokers.peers import connected
from evermq.adapters.kafka.fetching import decode
from evermq.message import Message
from evermq.port import Delivery, Queue, Reader
from evermq.position import Position
from rig.contender import Contender, Measure
from rig.pace import spans_per_second

__all__ = ["Numbered", "least_reading", "least_sending"]

_NUMBER = "number"


def least_sending(arena: Arena, size: int, tasks: int) -> Contender:
    """Tasks that await one future a batch, with an id a message and two batches under way, as `Producer` has them."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        topic = arena.topic()
        with asyncio.Runner() as runner:
            producer = runner.run(connected(arena))
            yield lambda seconds: runner.run(_Turns(producer, topic, bytes(size)).work(tasks, seconds))
            runner.run(producer.stop())

    return Contender(f"the least, {tasks} tasks", open_)


class _Turns:
    """What is sent in one turn of the loop goes in one batch."""

    def __init__(self, producer: Any, topic: str, body: bytes) -> None:
        self._producer, self._topic, self._body = producer, topic, body
        self._numbers, self._batches = count(), count()
        self._ids: list[bytes] = []
        self._sent: asyncio.Future[Any] | None = None
        self._under_way = asyncio.Semaphore(2)

    async def work(self, tasks: int, seconds: float) -> float:
        """Messages acknowledged a second."""
        begin = time.perf_counter()
        end = begin + seconds

        async def send() -> int:
            done = 0
            while time.perf_counter() < end:
                await self._send()
                done += 1
            return done

        return sum(await asyncio.gather(*(send() for _ in range(tasks)))) / (time.perf_counter() - begin)

    def _send(self) -> asyncio.Future[Any]:
        self._ids.append(b"%x" % next(self._numbers))
        if self._sent is None:
            self._sent = asyncio.ensure_future(self._flush())
        return self._sent

    async def _flush(self) -> None:
        async with self._under_way:
            ids, self._ids, self._sent = self._ids, [], None
            batch = self._producer.create_batch()
            for id in ids:
                batch.append(key=None, value=self._body, timestamp=None, headers=[("evermq-id", id)])
            batch.close()
            await (await self._producer.send_batch(batch, self._topic, partition=next(self._batches) % LANES))


def least_reading(arena: Arena, messages: int) -> Contender:
    """What confluent-kafka consumes is taken apart by columns and wrapped as deliveries; every batch is committed."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        topic = arena.stocked(messages, 1_024)
        yield lambda seconds: spans_per_second(lambda: _read(arena, topic, messages), seconds)

    return Contender("the least, consumed and wrapped", open_)


def _read(arena: Arena, topic: str, messages: int) -> tuple[int, float]:
    with consuming(arena.bootstrap, topic, fetch_queue_backoff_ms=10) as consumer:
        first: list[Any] = []
        while not first:
            first = consumer.consume(500, 0.2)
        begin = time.perf_counter()
        done = _wrap(topic, first)
        while done < messages:
            if found := consumer.consume(2_000, 0.01):
                done += _wrap(topic, found)
                consumer.commit()
        return done - len(first), time.perf_counter() - begin


def _wrap(topic: str, raw: Sequence[Any]) -> int:
    done = 0
    for lane, rows in decode(topic, raw).rows.items():
        offsets, found = zip(*rows, strict=True)
        positions = list(map(Position, repeat(str(lane)), offsets))
        done += len(list(map(Delivery, found, positions, positions, repeat(1))))
    return done


class Numbered:
    """A topic whose messages carry a number of their key in a header, and whose readers look for what is missing."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._counts: Counter[bytes | None] = Counter()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        """With the next number of its key."""
        counts = self._counts
        made = []
        for id, key, body, _, created_ms in messages:
            counts[key] += 1
            made.append(Message(id, key, body, {_NUMBER: f"slot-{counts[key]}"}, created_ms))
        return await self._queue.append(made)

    async def reader(self, group: str) -> _NumberedReader:
        """Of the topic."""
        return _NumberedReader(await self._queue.reader(group))

    async def close(self) -> None:
        await self._queue.close()


class _NumberedReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._counts: Counter[bytes | None] = Counter()
        self.ack, self.close = reader.ack, reader.close

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        """Those that come next, each of its key."""
        found = await self._reader.read(count_max=count_max, wait_ms=wait_ms)
        counts = self._counts
        for delivery in found:
            message = delivery.message
            number = int(message.headers[_NUMBER].rpartition("-")[2])
            assert number == counts[message.key] + 1
            counts[message.key] = number
        return found
