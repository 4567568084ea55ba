"""What the broker takes: requests that were encoded before the clock runs, again and again (D1, D2, D4).

They share the connections to a broker as evermq's own do. No client in Python is faster over as many, since nothing is
left of what a client does but to write bytes and to await the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from aiokafka.client import AIOKafkaClient

from brokers.arena import LANES, Arena, batches
from evermq.adapters.kafka.batch import LaneBatch, Ticket, put
from evermq.adapters.kafka.link import Lines
from evermq.adapters.kafka.request import Produce
from evermq.batch import Columns
from evermq.lanes import lane_of
from evermq.message import Message
from rig.contender import Contender, Measure

__all__ = ["prepared"]

_TIMEOUT_MS = 30_000
_UNNUMBERED = -1  # of a producer that is not idempotent: the same bytes may be sent again


def prepared(arena: Arena, size: int) -> Contender:
    """A request for each of four tasks, with the records of a batch of 1000 in the lanes of their keys, as evermq
    encodes them."""

    @contextmanager
    def open_() -> Iterator[Measure]:
        topic = arena.topic()
        stock = [_encoded(batch) for batch in batches(size)[:LANES]]
        with asyncio.Runner() as runner:
            client = runner.run(_connected(arena, topic, stock[0]))
            yield lambda seconds: runner.run(_work(client, topic, stock, seconds))
            runner.run(client.close())

    return Contender(f"requests encoded before, {size} B", open_)


async def _connected(arena: Arena, topic: str, parts: list[LaneBatch]) -> AIOKafkaClient:
    """Once the broker knows that it leads the topic."""
    client = AIOKafkaClient(bootstrap_servers=arena.bootstrap)
    await client.bootstrap()
    while await _send(client, Lines(), topic, parts) != {0}:
        await asyncio.sleep(0.1)
    return client


def _encoded(messages: Sequence[Message]) -> list[LaneBatch]:
    """What goes to each lane, whole."""
    columns = Columns.of(messages)
    ticket = Ticket(messages, columns, stamp_ms=None, bytes_max=8 << 20, compression=0)
    found: list[LaneBatch] = []
    for lane in range(LANES):
        rows = [row for row, key in enumerate(columns.keys) if lane_of(key or b"", LANES) == lane]
        put(own := list[LaneBatch](), lane, ticket, rows)
        found += own
    for batch in found:
        batch.number(_UNNUMBERED, _UNNUMBERED, _UNNUMBERED)
    return found


async def _work(client: AIOKafkaClient, topic: str, stock: Sequence[list[LaneBatch]], seconds: float) -> float:
    """Messages a second that the broker acknowledged."""
    lines = Lines()
    begin = time.perf_counter()
    end = begin + seconds

    async def send(parts: list[LaneBatch]) -> int:
        count, done = sum(each.count for each in parts), 0
        while time.perf_counter() < end:
            codes = await _send(client, lines, topic, parts)
            assert codes == {0}, codes
            done += count
        return done

    return sum(await asyncio.gather(*map(send, stock))) / (time.perf_counter() - begin)


async def _send(client: AIOKafkaClient, lines: Lines, topic: str, parts: list[LaneBatch]) -> set[int]:
    """Which codes the broker answered with."""
    request = Produce([(topic, each) for each in parts], _TIMEOUT_MS)
    line = lines.take(client.get_random_node())
    answer: Any = await client.send(line.node, request, group=line.group)
    lines.leave(line)
    return {each[1] for _, partitions in answer.topics for each in partitions}
