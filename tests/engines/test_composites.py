"""Techniques over two real engines, a Kafka and a Redis: the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from tests.test_conformance import in_memory

from evermq.adapters.kafka.topic import Topic
from evermq.adapters.memory import MemoryQueue
from evermq.adapters.open import open_place
from evermq.adapters.redis.appending import BATCH_COUNT_MAX, DELAY_MS_MAX
from evermq.drills.engines.engine import Engine
from evermq.ha.buffered import Buffered
from evermq.ha.failover import Failover
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.policy.deduped import Deduped
from evermq.policy.ordered import Ordered
from evermq.port import Queue
from evermq.progress.memory import MemoryProgress
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


def failover(kafka: Queue, redis: Queue) -> Failover:
    return Failover(primary=kafka, standby=redis, append_ms_max=PATIENT_MS)


def numbered(kind: type[Ordered]) -> Callable[[Queue, Queue], Queue]:
    def technique(kafka: Queue, redis: Queue) -> Queue:
        rungs = {"primary": kafka, "standby": redis}
        return kind(failover(kafka, redis), slot=in_memory, progress=MemoryProgress(), rungs=rungs, lanes=24)

    return technique


SUBJECTS = [
    over("route", lambda kafka, redis: Route({"a": kafka, "b": redis}, append_ms_max=PATIENT_MS)),
    over("failover", failover),
    over("ordered", numbered(Ordered)),
    over("deduped", numbered(Deduped)),
    over("buffered", lambda kafka, redis: Buffered(local=redis, remote=kafka, slow_ms=PATIENT_MS)),
    over("spooled", lambda kafka, redis: Spooled(local=redis, remote=kafka)),
]


@pytest.mark.parametrize("case", cases(SUBJECTS), ids=str)
async def test_conformance(case: Case) -> None:
    await case.run()
