"""A Redis that loses what it acknowledged, while it is all that a ladder has: the sender's host has copies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis as Client

from evermq.adapters.open import open_place
from evermq.compose.build import build
from evermq.compose.config import parse
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.redis import Redis, RedisSentinel
from evermq.message import MessageFactory
from evermq.numbers import FLAGGED
from evermq.policy.ordered import Ordered
from evermq.port import Delivery

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
message = MessageFactory()
KEYS = 7
CONFIG = """
[topics.{topic}]
use = "failover"
groups = ["billing"]
primary = "redis://127.0.0.1:9/{topic}"
standby = "{standby}"
last = "log://{directory}/last/{topic}"
order = "key"
dedupe = "producer"
progress = "log://{directory}"
{more}
"""


@asynccontextmanager
async def ladder(server: Engine, topic: str, directory: Path, more: str = "") -> AsyncIterator[Ordered]:
    """Its primary is down all the time."""
    place = await open_place(server.url())
    await place.create(topic, groups=["billing"], lanes=8)
    await place.close()
    text = CONFIG.format(topic=topic, standby=server.url(topic), directory=directory, more=more)
    queue = await build(parse(text, "evermq.toml")[topic])
    assert isinstance(queue, Ordered)
    try:
        yield queue
    finally:
        await queue.close()


async def send(queue: Ordered, numbers: range) -> set[str]:
    """Returns the rungs that took them."""
    batch = [message(f"{n}", key=f"k{n % KEYS}") for n in numbers]
    return {position.via[0] for position in await queue.append(batch)}


async def handled(queue: Ordered, is_done: Callable[[list[Delivery]], bool]) -> list[Delivery]:
    """What a consumer was handed, each acknowledged, until it is done."""
    reader = await queue.reader("billing")
    found: list[Delivery] = []
    async with asyncio.timeout(90):
        while not is_done(found):
            some = await reader.read(count_max=20, wait_ms=500)
            found += some
            await reader.ack(some)
    return found


def assert_once_and_in_order(found: list[Delivery], count: int) -> None:
    bodies = [int(delivery.message.body) for delivery in found]
    assert Counter(bodies) == Counter(range(count))
    for key in range(KEYS):
        mine = [body for body in bodies if body % KEYS == key]
        flagged = [int(each.message.body) for each in found if each.message.headers.get(FLAGGED)]
        assert mine == sorted(mine) or flagged


async def fail_over_without_the_tail(server: RedisSentinel, send_tail: Callable[[], Awaitable[None]]) -> None:
    """The replica has all there is and is cut off, the master takes more, and dies."""
    master = server.leader()
    [replica] = [node for name, node in server.nodes.items() if name.startswith("redis") and node is not master]
    async with Client(port=server._ports[0 if master.name == "redis-1" else 1]) as client:
        await client.set("written", "before the cut")
        while not await client.wait(1, 1_000):
            await asyncio.sleep(0.1)
        replica.freeze()
        await client.client_kill_filter(_type="replica")
    await send_tail()
    await asyncio.to_thread(master.kill)
    replica.thaw()
    while server.leader() is master:
        await asyncio.sleep(0.1)


async def test_rt5_tail_that_a_fail_over_dropped_is_sent_again(
    redis_sentinel_server: RedisSentinel, topic: str, tmp_path: Path
) -> None:
    """RT5, Redis fail-over under degrade: the primary is down, the master is cut off from its replica, takes more and
    is killed; the replica is promoted, nothing is lost, and every message comes once."""
    async with ladder(redis_sentinel_server, topic, tmp_path) as queue:
        assert await send(queue, range(50)) == {"standby"}

        async def tail() -> None:
            assert await send(queue, range(50, 120)) == {"standby"}

        await fail_over_without_the_tail(redis_sentinel_server, tail)
        await send(queue, range(120, 150))
        found = await handled(queue, lambda found: len({each.message.body for each in found}) == 150)
        assert_once_and_in_order(found, 150)


async def test_rt5_without_copies_that_tail_is_lost(
    redis_sentinel_server: RedisSentinel, topic: str, tmp_path: Path
) -> None:
    """RT5, control run: the other test proves nothing where this one loses nothing."""
    async with ladder(redis_sentinel_server, topic, tmp_path, "retained_bytes_max = 0\nhold_ms_max = 1_000") as queue:
        assert await send(queue, range(50)) == {"standby"}

        async def tail() -> None:
            assert await send(queue, range(50, 120)) == {"standby"}

        await fail_over_without_the_tail(redis_sentinel_server, tail)
        await send(queue, range(120, 150))
        last = {b"%d" % n for n in range(143, 150)}
        found = await handled(queue, lambda found: last <= {each.message.body for each in found})
        assert not {int(each.message.body) for each in found} & set(range(50, 120))


async def test_what_was_flushed_is_sent_again(redis_server: Redis, topic: str, tmp_path: Path) -> None:
    """The topic is gone with it, so what is sent again goes to the host, and up once there is a rung that takes it."""
    async with ladder(redis_server, topic, tmp_path) as queue:
        assert await send(queue, range(100)) == {"standby"}
        async with Client(port=redis_server.port) as client:
            await client.flushall()
        place = await open_place(redis_server.url())
        await asyncio.sleep(3)
        await place.create(topic, groups=["billing"], lanes=8)
        await place.close()
        await send(queue, range(100, 120))
        found = await handled(queue, lambda found: len({each.message.body for each in found}) == 120)
        assert_once_and_in_order(found, 120)
