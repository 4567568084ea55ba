"""A group that is dropped holds nothing back any more, and one of its name is a new one: on real engines."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import evermq
from evermq.adapters.memory.place import MemoryPlace
from evermq.adapters.open import open_place, open_queue
from evermq.compose.ordering import open_progress
from evermq.drills.engines.engine import Engine
from evermq.errors import NoSuchTopic, Overloaded, Rejected
from evermq.message import MessageFactory
from evermq.port import DropsGroups, Place, Queue
from evermq.progress.sql import SqlProgress

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]
make = MessageFactory()
COUNT = 40


@pytest.fixture(params=["memory", "redis", "kafka"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "memory":
        found: Place = MemoryPlace()
    else:
        engine: Engine = request.getfixturevalue(f"{request.param}_server")
        found = await open_place(engine.url())
    yield found
    await found.close()


async def filled(place: Place, topic: str) -> Queue:
    await place.create(topic, groups=["gone", "stays"], lanes=4)
    queue = await place.queue(topic)
    await queue.append([make(str(number), key=f"k{number}") for number in range(COUNT)])
    return queue


async def read(queue: Queue, group: str, count: int) -> set[bytes]:
    reader = await queue.reader(group)
    found: list[bytes] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            some = await reader.read(count_max=10, wait_ms=1_000)
            found += [each.message.body for each in some]
            await reader.ack(some)
    await reader.close()
    return set(found)


async def test_dropped_group_is_gone_and_others_have_all_that_they_had(place: Place, topic: str) -> None:
    queue = await filled(place, topic)
    await read(queue, "stays", 10)
    left = await queue.backlog("stays")
    assert isinstance(place, DropsGroups)
    await place.drop_group(topic, "gone")
    assert list((await place.describe(topic)).groups) == ["stays"]
    assert await queue.backlog("stays") == left
    assert len(await read(queue, "stays", left)) == left
    with pytest.raises(NoSuchTopic, match="gone"):
        await place.drop_group(topic, "gone")


async def test_group_that_is_read_is_not_dropped(place: Place, topic: str) -> None:
    queue = await filled(place, topic)
    assert isinstance(place, DropsGroups)
    reader = await queue.reader("gone")
    some = await reader.read(count_max=5, wait_ms=10_000)
    with pytest.raises(Rejected, match="readers"):
        await place.drop_group(topic, "gone")
    await reader.ack(some)
    await reader.close()
    assert await queue.backlog("gone") == COUNT - len(some)
    await place.drop_group(topic, "gone")
    assert list((await place.describe(topic)).groups) == ["stays"]


async def test_group_of_the_name_of_one_that_was_dropped_is_a_new_one(place: Place, topic: str) -> None:
    queue = await filled(place, topic)
    await read(queue, "gone", COUNT)
    assert isinstance(place, DropsGroups)
    await place.drop_group(topic, "gone")
    await place.create(topic, groups=["gone"])
    assert await queue.backlog("gone") == COUNT  # which `stays` has kept
    assert len(await read(queue, "gone", COUNT)) == COUNT


async def test_group_or_topic_that_is_not_there_is_told(place: Place, topic: str) -> None:
    await filled(place, topic)
    assert isinstance(place, DropsGroups)
    for asked in ((topic, "nobody"), (f"{topic}-other", "gone")):
        with pytest.raises(NoSuchTopic):
            await place.drop_group(*asked)


async def test_group_that_nobody_reads_holds_up_a_redis_until_it_is_dropped_by_the_command(
    redis_server: Engine, topic: str
) -> None:
    url = f"{redis_server.url(topic)}?lane_count_max=10"
    place = await open_place(redis_server.url())
    await place.create(topic, groups=["gone", "stays"], lanes=1)
    queue = await open_queue(url)
    for number in range(10):
        await queue.append([make(str(number))])
    with pytest.raises(Overloaded, match="drop-group"):
        await queue.append([make("x")])
    await read(queue, "stays", 10)
    with pytest.raises(Overloaded):
        await queue.append([make("x")])
    assert await ran("topics", "drop-group", url, "--group", "gone") == 0
    await queue.append([make("x")])
    assert await read(queue, "stays", 1) == {b"x"}
    assert await ran("topics", "drop-group", url, "--group", "gone") == 2
    await queue.close()
    await place.close()


async def test_reader_of_another_process_is_told_that_its_group_was_dropped(redis_server: Engine, topic: str) -> None:
    other = await open_queue_of(redis_server, topic)
    place = await open_place(redis_server.url())
    assert isinstance(place, DropsGroups)
    await place.drop_group(topic, "gone")
    reader = await other.reader("gone")  # of which this process still believes that it is there
    with pytest.raises(NoSuchTopic, match="was dropped"):
        await reader.read(count_max=1, wait_ms=5_000)
    await reader.close()
    await other.close()
    await place.close()


async def open_queue_of(server: Engine, topic: str) -> Queue:
    place = await open_place(server.url())
    await filled(place, topic)
    await place.close()
    return await open_queue(server.url(topic))


async def test_last_group_takes_with_it_what_it_had_not_settled(redis_server: Engine, topic: str) -> None:
    place = await open_place(redis_server.url())
    queue = await filled(place, topic)
    assert isinstance(place, DropsGroups)
    for group in ("gone", "stays"):
        await place.drop_group(topic, group)
    with pytest.raises(NoSuchTopic, match="no group"):
        await queue.append([make("x")])
    await place.create(topic, groups=["new"])
    assert await queue.backlog("new") == 0
    await queue.append([make("x")])
    assert await read(queue, "new", 1) == {b"x"}
    await place.close()


async def ran(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "evermq", *command)
    return await asyncio.wait_for(process.wait(), 60)


async def test_group_of_a_topic_of_the_configuration_is_dropped_everywhere_and_is_a_new_one_then(
    redis_server: Engine, topic: str, tmp_path: Path
) -> None:
    config = tmp_path / "evermq.toml"
    rungs = "\n".join(f'{key} = "{redis_server.url(f"{topic}.{key}")}?lanes=4"' for key in ("primary", "standby"))
    last = f'last = "log://{tmp_path}/last/{topic}"\nprogress = "sqlite:///{tmp_path}/progress"\norder = "key"'
    config.write_text(f'[topics.{topic}]\nuse = "failover"\ngroups = ["gone", "stays"]\n{rungs}\n{last}\n')
    assert await ran("topics", "create", topic, "--config", str(config)) == 0
    queue = await evermq.open(topic, config=config)
    await queue.append([make(str(number), key=f"k{number}") for number in range(COUNT)])
    for group in ("gone", "stays"):
        assert len(await read(queue, group, COUNT)) == COUNT
    await queue.close()
    progress = open_progress(f"sqlite:///{tmp_path}/progress", topic)
    assert await known(progress, "gone")
    assert await ran("topics", "drop-group", topic, "--group", "gone", "--config", str(config)) == 0
    assert await ran("topics", "drop-group", topic, "--group", "gone", "--config", str(config)) == 2
    assert not await known(progress, "gone")
    assert await known(progress, "stays")
    await progress.close()
    for key in ("primary", "standby"):
        place = await open_place(redis_server.url())
        assert list((await place.describe(f"{topic}.{key}")).groups) == ["stays"]
        await place.close()


async def known(progress: SqlProgress, group: str) -> int:
    """How many streams a group has settled something of."""
    part = await progress.join(group)
    found = await part.look(range(1_000))
    await part.leave()
    return sum(map(len, found.values()))
