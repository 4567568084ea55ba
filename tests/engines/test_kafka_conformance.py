"""A real Kafka keeps what the port promises: the conformance suite, alone and under composites."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.needed import memory_disk

from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.kafka.topic import Topic
from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_log, open_place
from evermq.drills.engines.engine import Engine
from evermq.ha.failover import Failover
from evermq.ha.pump import HOPS_BYTES_MAX
from evermq.ha.spooled import Spooled
from evermq.port import Queue
from evermq.testing.conformance import Case, Opened, Subject, cases
from evermq.traits import Durable, Order

LANES = 4
TRAITS = Topic("traits", "", LANES, 1, {"min.insync.replicas": "1"}).traits
URL = ""


@pytest.fixture(autouse=True)
def _server(kafka_server: Engine) -> None:
    global URL
    URL = kafka_server.url()


async def connected() -> KafkaPlace:
    place = await open_place(f"{URL}?lanes={LANES}")
    assert isinstance(place, KafkaPlace)
    return place


@asynccontextmanager
async def kafka(topic: str) -> AsyncIterator[Opened]:
    """A topic of its own; opened again, the place is a new one."""
    place = await connected()
    await place.create(topic)
    opened = Opened(await place.queue(topic), place=place)

    async def reopen() -> Queue:
        assert opened.place
        await opened.place.close()
        opened.place = place = await connected()
        opened.queue = await place.queue(topic)
        return opened.queue

    opened.reopen = reopen
    yield opened
    assert opened.place
    await opened.place.close()


@asynccontextmanager
async def failover(topic: str) -> AsyncIterator[Opened]:
    """Kafka in front of memory."""
    place = await connected()
    await place.create(topic)
    standby = MemoryQueue(topic, lanes=LANES)
    queue = Failover(primary=await place.queue(topic), standby=standby, append_ms_max=10_000)
    yield Opened(queue)
    await queue.close()
    await place.close()


@asynccontextmanager
async def spooled(topic: str) -> AsyncIterator[Opened]:
    """The embedded log in front of Kafka."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
        place, log = await connected(), await open_log(directory, segment_bytes=4 << 20)
        await place.create(topic)
        queue = Spooled(local=await log.queue(topic), remote=await place.queue(topic))
        await queue.start()
        yield Opened(queue)
        await queue.close()
        await log.close()
        await place.close()


SPOOLED = replace(
    TRAITS,
    durable=Durable.DISK,
    replay=False,
    message_bytes_max=TRAITS.message_bytes_max - HOPS_BYTES_MAX,
    batch_count_max=65_536,
)
FAILOVER = replace(TRAITS & MemoryQueue("traits", lanes=LANES).traits, order=Order.NONE, replay=False)
SUBJECTS = [
    Subject("kafka", kafka, TRAITS, reopens=True, places=True),
    Subject("failover-kafka-memory", failover, FAILOVER),
    Subject("spooled-log-kafka", spooled, SPOOLED),
]
# The log in front waits with what is to wait, although the two together do not promise it.
ALL = [
    case for case in cases(SUBJECTS) if str(case) != "spooled-log-kafka-delay-delay_that_is_not_supported_is_refused"
]


@pytest.mark.parametrize("case", ALL, ids=str)
async def test_conformance(case: Case) -> None:
    await case.run()
