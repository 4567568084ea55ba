"""A standby that refuses is told of before it is needed: in the log, to people and to Prometheus."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis as Client

from evermq.adapters.open import open_place
from evermq.compose.build import open as open_topic
from evermq.daemon.commands.watch import _switch as lines_of
from evermq.daemon.exposition import Exposition, serve_metrics
from evermq.daemon.watching import SwitchSeen, TopicSeen, Watcher
from evermq.drills.engines.ports import free_port
from evermq.drills.engines.redis import Redis

pytestmark = pytest.mark.timeout(120)


def ladder(server: Redis, topic: str, directory: Path) -> Path:
    config = directory / "evermq.toml"
    config.write_text(
        f'[topics.{topic}]\nuse = "failover"\nprimary = "log://{directory}/a/{topic}"\n'
        f'standby = "{server.url(topic)}?lanes=4"\n[topics.{topic}.switch]\n'
        f'at = "file://{directory}/switch?remember={directory}/kept"\nwarm_ms = 100\nprobe_ms = 100\n'
    )
    return config


def scrape(seen: TopicSeen) -> str:
    exposition, port = Exposition(), free_port()
    exposition.seen = seen
    serve_metrics(exposition, port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


async def until(watcher: Watcher, condition: Callable[[SwitchSeen], bool]) -> TopicSeen:
    async with asyncio.timeout(60):
        while True:
            seen = await watcher.look()
            if seen.switch and condition(seen.switch):
                return seen
            await asyncio.sleep(0.05)


async def test_standby_without_memory_is_told_of_while_the_primary_is_well_and_nobody_sends(
    redis_server: Redis, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = await open_place(redis_server.url().rstrip("/"))
    await place.create(topic, lanes=4)
    config = ladder(redis_server, topic, tmp_path)
    watcher = Watcher(topic, config)
    async with Client(port=redis_server.port) as client:
        queue = await open_topic(topic, config)
        metric = f'evermq_rung_failing_processes{{rung="standby",topic="{topic}"}}'
        seen = await until(watcher, lambda switch: len(switch.members) == 1)
        assert f"{metric} 0.0" in await asyncio.to_thread(scrape, seen)
        await client.config_set("maxmemory", "1mb")
        try:
            seen = await until(watcher, lambda switch: "standby" in switch.failing)
        finally:
            await client.config_set("maxmemory", "0")
        assert f"{metric} 1.0" in await asyncio.to_thread(scrape, seen)
        assert any("standby fails for 1 of 1 processes" in str(line) for line in lines_of(seen))
        assert seen.switch
        assert seen.switch.state == "normal"
        assert "the rung standby, which appends fall back to, fails" in caplog.text
        await until(watcher, lambda switch: not switch.failing)
        assert "the rung standby is well again" in caplog.text
        await queue.close()
    await place.drop(topic)
    await place.close()
