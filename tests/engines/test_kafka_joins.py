"""A group of Kafka of which a member was killed: while another one joins, those that stay read on and commit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from confluent_kafka import Consumer, ConsumerGroupState
from confluent_kafka.admin import AdminClient

from evermq.adapters.address import parse
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.open import open_place
from evermq.drills.engines.engine import Engine
from evermq.errors import Misconfigured
from evermq.lanes import lane_of
from evermq.message import MessageFactory
from evermq.port import Delivery, Queue, Reader

make = MessageFactory()
LANES = 6
KEYS = [f"k{number}".encode() for number in range(60)]
ROUNDS = 3
HEARD_S = 2.0  # after which every member has sent a heartbeat, all half a second

# A member of the group that reads, says so, and is not heard of again.
MEMBER = """
import asyncio, sys
from evermq.adapters.open import open_queue

async def main():
    reader = await (await open_queue(sys.argv[1])).reader("g")
    while not await reader.read(count_max=1, wait_ms=100):
        pass
    print("reads", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def member(kafka_server: Engine, topic: str, places: list[KafkaPlace]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", MEMBER, kafka_server.url(topic)], stdout=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate()


@pytest.fixture
async def places(kafka_server: Engine, topic: str) -> AsyncIterator[list[KafkaPlace]]:
    """Three, with a connection each, and a topic."""
    found = []
    for _ in range(3):
        place = await open_place(kafka_server.url())
        assert isinstance(place, KafkaPlace)
        found.append(place)
    await found[0].create(topic, groups=["g"], lanes=LANES)
    yield found
    for place in found:
        await place.close()


async def shared(queue: Queue, reader: Reader) -> set[int]:
    """The lanes that a reader got, once it has not all of them any more, or not yet."""
    async with asyncio.timeout(60):
        while True:
            await queue.append([make("early", key=key) for key in KEYS])
            lanes = set()
            for _ in range(5):
                found = await reader.read(count_max=1_000, wait_ms=100)
                await reader.ack(found)
                lanes |= {int(delivery.position.lane) for delivery in found}
            if 0 < len(lanes) < LANES:
                return lanes


async def goes_through(queue: Queue, watching: Queue, reader: Reader, lanes: set[int]) -> None:
    """A message for each key of these lanes is read, and committed as far as everybody can see."""
    keys = [key for key in KEYS if lane_of(key, LANES) in lanes]
    await queue.append([make("late", key=key) for key in keys])
    seen = 0
    while seen < len(keys):
        found = await reader.read(count_max=1_000, wait_ms=100)
        await reader.ack(found)
        seen += sum(delivery.message.body == b"late" for delivery in found)
    while any([await watching.backlog("g", str(lane)) for lane in lanes]):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("option", ["group.protocol=classic", "group.protocol=consumer", "group.instance.id=one"])
async def test_what_is_acknowledged_is_committed_as_everybody_sees(
    kafka_server: Engine, places: list[KafkaPlace], topic: str, option: str
) -> None:
    place = await open_place(f"{kafka_server.url()}?{option}")
    queue, watching = await place.queue(topic), await places[1].queue(topic)
    await queue.append([make("first", key=key) for key in KEYS])
    reader = await queue.reader("g")
    found: list[Delivery] = []
    async with asyncio.timeout(60):
        while len(found) < len(KEYS):
            found += await reader.read(count_max=1_000, wait_ms=100)
        await reader.ack(found[::2])
        while await watching.backlog("g") > len(KEYS) // 2:
            await asyncio.sleep(0.01)
    await reader.ack(found)
    await place.close()
    assert await watching.backlog("g") == 0


async def test_process_with_a_name_of_its_own_reads_two_topics_in_one_group(kafka_server: Engine, topic: str) -> None:
    place = await open_place(f"{kafka_server.url()}?group.instance.id=one")
    readers = []
    for name in (topic, f"{topic}-other"):
        await place.create(name, groups=["g"], lanes=LANES)
        queue = await place.queue(name)
        await queue.append([make(name, key=key) for key in KEYS])
        readers.append((name, queue, await queue.reader("g")))
    for name, queue, reader in readers:
        found: list[Delivery] = []
        async with asyncio.timeout(60):
            while len(found) < len(KEYS):
                found += await reader.read(count_max=1_000, wait_ms=100)
        assert {delivery.message.body for delivery in found} == {name.encode()}
        await reader.ack(found)
        async with asyncio.timeout(60):
            while await queue.backlog("g"):
                await asyncio.sleep(0.1)
    await place.close()


async def test_foreign_member_that_shares_lanes_by_another_rule_is_told_of(
    kafka_server: Engine, places: list[KafkaPlace], topic: str
) -> None:
    foreign = Consumer({"bootstrap.servers": parse(kafka_server.url("x")).place, "group.id": "g"})
    foreign.subscribe([topic])
    try:
        async with asyncio.timeout(60):
            while not foreign.assignment():
                await asyncio.to_thread(foreign.poll, 0.1)
        with pytest.raises(Misconfigured, match=r"partition\.assignment\.strategy"):
            await (await places[0].queue(topic)).reader("g")
    finally:
        foreign.close()


async def begun(server: Engine) -> None:
    """The coordinator waits for every member to join anew, and those that live have heard of it."""
    admin = AdminClient({"bootstrap.servers": parse(server.url("x")).place})
    async with asyncio.timeout(30):
        state = None
        while state != ConsumerGroupState.PREPARING_REBALANCING:
            [described] = admin.describe_consumer_groups(["g"]).values()
            state = (await asyncio.wrap_future(described)).state
    await asyncio.sleep(HEARD_S)


async def test_members_that_stay_read_and_commit_while_one_joins_and_the_group_waits_for_one_that_was_killed(
    kafka_server: Engine, places: list[KafkaPlace], member: subprocess.Popen[bytes], topic: str
) -> None:
    queue, watching, other = [await place.queue(topic) for place in places]
    await queue.append([make("first", key=key) for key in KEYS])
    assert member.stdout
    await asyncio.to_thread(member.stdout.readline)
    reader = await queue.reader("g")
    lanes = await shared(queue, reader)
    member.kill()
    joining = asyncio.create_task(other.reader("g"))
    await begun(kafka_server)
    rounds = 0
    while not joining.done():
        passing = asyncio.create_task(goes_through(queue, watching, reader, lanes))
        await asyncio.wait([passing, joining], return_when=asyncio.FIRST_COMPLETED)
        if joining.done():
            passing.cancel()
            break
        await passing
        rounds += 1
    assert rounds >= ROUNDS
    await joining
