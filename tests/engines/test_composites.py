"""Techniques over two real engines, a Kafka and a Redis: the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from evermq.adapters.kafka.topic import Topic
from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_place
from evermq.adapters.redis.appending import BATCH_COUNT_MAX, DELAY_MS_MAX
from evermq.drills.engines.engine import Engine
from evermq.ha.buffered import Buffered
from evermq.ha.failover import Failover
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.port import Queue
from evermq.testing.conformance import Case, Opened, Subject, cases
from evermq.traits import Durable

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]  # the servers start in it

LANES = 4
PATIENT_MS = 10_000
KAFKA_TRAITS = Topic("traits", "", LANES, 1, {"min.insync.replicas": "1"}).traits
REDIS_TRAITS = replace(
    MemoryQueue("traits", lanes=LANES, message_bytes_max=1 << 20).traits,
    durable=Durable.DISK,
    delay_ms_max=DELAY_MS_MAX,
    batch_count_max=BATCH_COUNT_MAX,
)
urls: list[str] = []


@pytest.fixture(autouse=True)
def _servers(kafka_server: Engine, redis_server: Engine) -> None:
    urls[:] = [f"{kafka_server.url()}?lanes={LANES}", f"{redis_server.url()}?lanes={LANES}&create=yes"]


class Declared:
    """In place of a queue that is not there yet: its traits, of which the cases are made."""

    name = "traits"

    def __init__(self, traits: object) -> None:
        self.traits = traits


def over(name: str, technique: Callable[[Queue, Queue], Queue]) -> Subject:
    """A technique over a topic of a Kafka and one of a Redis."""

    @asynccontextmanager
    async def opened(topic: str) -> AsyncIterator[Opened]:
        async with AsyncExitStack() as stack:
            queues = []
            for url in urls:
                place = await open_place(url)
                stack.push_async_callback(place.close)
                await place.create(topic)
                queues.append(await place.queue(topic))
            queue = technique(*queues)
            if isinstance(queue, Spooled):
                await queue.start()
            stack.push_async_callback(queue.close)
            yield Opened(queue)

    kafka, redis = Declared(KAFKA_TRAITS), Declared(REDIS_TRAITS)
    return Subject(name, opened, technique(kafka, redis).traits)  # type: ignore[arg-type]


SUBJECTS = [
    over("route", lambda kafka, redis: Route({"a": kafka, "b": redis}, append_ms_max=PATIENT_MS)),
    over("failover", lambda kafka, redis: Failover(primary=kafka, standby=redis, append_ms_max=PATIENT_MS)),
    over("buffered", lambda kafka, redis: Buffered(local=redis, remote=kafka, slow_ms=PATIENT_MS)),
    over("spooled", lambda kafka, redis: Spooled(local=redis, remote=kafka)),
]


# What the engines beneath have a say in; the rest is asked of each engine, and of each technique over memory.
CHAPTERS = ("append-", "ack-", "order-", "backlog-")
CASES = [case for case in cases(SUBJECTS) if str(case).partition("-")[2].startswith(CHAPTERS)]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_conformance(case: Case) -> None:
    await case.run()
