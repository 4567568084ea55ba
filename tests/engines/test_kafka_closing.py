"""What is closed on a real Kafka leaves its group, and no thread of the driver, whatever is going on at the time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from evermq.adapters.address import parse
from evermq.adapters.kafka.inspect import inspect
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.errors import Closed, EvermqError, Misconfigured, Unavailable
from evermq.message import MessageFactory
from evermq.port import Reader, Start

message = MessageFactory()
TIMES = 6
LIMIT_S = 20  # of whatever a close may wait for; a hand-over would take three times as long
HANDOVER = "?handover_ms_max=60000"
PAUSES_S = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)  # after which a member is closed that began to join


def driver_threads() -> int:
    """Of librdkafka: Python knows nothing of them."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it just ended
            found += (task / "comm").read_text().startswith("rdk:")
    return found


@pytest.fixture(autouse=True)
async def _threads() -> AsyncIterator[None]:
    """The driver's threads end without the help of the garbage collector."""
    gc.collect()
    before = driver_threads()
    gc.disable()
    try:
        yield
        async with asyncio.timeout(LIMIT_S):
            while driver_threads() > before:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def connected(server: Engine, options: str = "") -> KafkaPlace:
    place = await open_place(server.url() + options)
    assert isinstance(place, KafkaPlace)
    return place


async def taken(reader: Reader) -> list[bytes]:
    """What comes until nothing is left."""
    found: list[bytes] = []
    while some := await reader.read(count_max=99, wait_ms=2_000):
        found += [each.message.body for each in some]
        await reader.ack(some)
    return found


async def members(server: Engine, group: str) -> int:
    """How many the broker counts."""
    admin = AdminClient({"bootstrap.servers": parse(server.url("x")).place})
    with admin:
        described = admin.describe_consumer_groups([group])[group]
        return len((await asyncio.wrap_future(described)).members)


async def test_place_that_is_closed_leaves_no_thread(kafka_server: Engine, topic: str) -> None:
    for turn in range(TIMES):
        place = await connected(kafka_server)
        if not turn:
            await place.create(topic, lanes=1, groups=["g"])
        queue = await place.queue(topic)
        await queue.append([message("x")])
        reader = await queue.reader("g")
        await reader.ack(await reader.read(count_max=1, wait_ms=10_000))
        await place.close()
        await place.close()
        with pytest.raises(Closed):
            await place.admin.topics()


async def test_call_under_way_when_the_place_is_closed_ends_and_leaves_no_thread(
    kafka_server: Engine, topic: str
) -> None:
    for turns in range(TIMES):
        place = await connected(kafka_server)
        calls = [asyncio.create_task(act) for act in (place.admin.ping(), place.admin.groups(), place.describe(topic))]
        for _ in range(turns):
            await asyncio.sleep(0)
        await place.close()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, EvermqError), repr(outcome)


@pytest.mark.parametrize(
    ("url", "kind"), [("kafka://127.0.0.1:1", Unavailable), ("{}?compression.type=rar", Misconfigured)]
)
async def test_place_that_cannot_be_opened_leaves_no_thread(
    url: str, kind: type[EvermqError], kafka_server: Engine
) -> None:
    with pytest.raises(kind) as caught:
        await open_place(url.format(kafka_server.url()))
    gc.collect()  # nor does who keeps the error keep the client
    assert caught.value


async def test_doctor_leaves_no_thread(kafka_server: Engine, topic: str) -> None:
    for _ in range(TIMES):
        await inspect(parse(kafka_server.url(topic)))


@pytest.mark.parametrize("what", ["reader", "queue", "place"])
async def test_what_is_closed_while_the_group_is_shared_out_anew_leaves_it(
    what: str, kafka_server: Engine, topic: str
) -> None:
    """One of two members is closed: the one that hands over, with messages in hand, or the one that joins."""
    group = f"g-{what}"
    place = await connected(kafka_server, HANDOVER)
    await place.create(topic, lanes=4, groups=[group])
    queue = await place.queue(topic)
    await queue.append([message(str(number)) for number in range(100)])
    for pause_s in PAUSES_S:
        reader = await queue.reader(group)
        assert await reader.read(count_max=50, wait_ms=10_000)
        other = await connected(kafka_server, HANDOVER)
        other_queue = await other.queue(topic)
        joining = asyncio.create_task(other_queue.reader(group))
        closes = {"reader": reader.close, "queue": other_queue.close, "place": other.close}
        await asyncio.sleep(pause_s)
        async with asyncio.timeout(LIMIT_S):
            await closes[what]()
            if what == "reader":
                await (await joining).close()
            await asyncio.gather(joining, return_exceptions=True)
            await reader.close()
            await other.close()
        assert await members(kafka_server, group) == 0
    reader = await queue.reader(group)
    assert sorted(await taken(reader)) == sorted(b"%d" % number for number in range(100))
    await place.close()


@pytest.mark.parametrize("pause_s", [0, 0.001, 0.003, 0.01])
async def test_nobody_waits_for_a_place_that_was_closed(kafka_server: Engine, topic: str, pause_s: float) -> None:
    place = await connected(kafka_server)
    await place.create(topic, lanes=1)
    queue = await place.queue(topic)
    calls = [
        asyncio.create_task(act)
        for act in (queue.reader("g"), place.reset(topic, "i", Start.OLDEST), queue.backlog("h"))
    ]
    await asyncio.sleep(pause_s)
    await place.close()
    async with asyncio.timeout(LIMIT_S):
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, EvermqError), repr(outcome)
