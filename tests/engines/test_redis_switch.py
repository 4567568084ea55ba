"""A ladder over a real Redis: it flips by itself, a probe brings it back, and leaves nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evermq.adapters.open import open_place
from evermq.compose.build import open as open_topic
from evermq.drills.engines.engine import Engine
from evermq.errors import EvermqError
from evermq.ha.breaker import State
from evermq.ha.failover import Failover
from evermq.ha.probe import PREFIX
from evermq.ha.switch import Switch
from evermq.message import MessageFactory
from evermq.port import Reader

pytestmark = pytest.mark.timeout(120)
QUICK = "dwell_ms = 500\ngood = 2\ngood_ms = 300\nreturning_ms = 300\nprobe_ms = 200\nslow = 2\n"


async def read(reader: Reader, count: int) -> set[str]:
    found: set[str] = set()
    while len(found) < count:
        deliveries = await reader.read(count_max=1_000, wait_ms=5_000)
        found |= {delivery.message.id for delivery in deliveries}
        await reader.ack(deliveries)
    return found


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_primary_that_dies_or_freezes_is_left_and_taken_up_again(
    fault: str, redis_server: Engine, topic: str, tmp_path: Path
) -> None:
    place = await open_place(redis_server.url().rstrip("/"))
    await place.create(topic, groups=("g",), lanes=16)
    config = tmp_path / "evermq.toml"
    config.write_text(
        f'[topics.{topic}]\nuse = "failover"\nappend_ms_max = 300\nprimary = "{redis_server.url(topic)}?lanes=16"\n'
        f'standby = "memory://{topic}/{topic}"\n[topics.{topic}.switch]\nat = "file://{tmp_path}/switch?'
        f'remember={tmp_path}/kept"\n{QUICK}'
    )
    queue = await open_topic(topic, config)
    assert isinstance(queue, Failover)
    switch, make, sent, went = queue.choice, MessageFactory(), set[str](), []
    assert isinstance(switch, Switch)
    reader = await queue.reader("g")
    node = redis_server.leader("")

    async def send_until(state: State) -> None:
        while switch.state is not state:
            message = make("x")
            try:
                went.append((await queue.append([message]))[0].via[0])
                sent.add(message.id)
            except EvermqError:
                pass
            await asyncio.sleep(0.01)

    await send_until(State.NORMAL)
    await asyncio.to_thread(node.kill if fault == "kill" else node.freeze)
    await send_until(State.DEGRADED)
    went.clear()
    while len(went) < 50:
        message = make("x")
        went.append((await queue.append([message]))[0].via[0])
        sent.add(message.id)
        await asyncio.sleep(0.01)
    assert set(went) == {"standby"}  # no traffic is spent on trying
    await asyncio.to_thread(redis_server.heal)
    await send_until(State.NORMAL)
    assert [each for each in await place.topics() if each.startswith(PREFIX)]
    assert sent <= await read(reader, len(sent))
    await queue.close()
    assert not [each for each in await place.topics() if each.startswith(PREFIX)]
    await place.close()
