"""What order and dedupe do, and which lanes are diverted, as whoever watches sees it."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from evermq.clock import SYSTEM
from evermq.compose.build import build
from evermq.compose.config import load
from evermq.compose.switching import SwitchConfig, connect
from evermq.daemon.commands.watch import _switch as lines_of
from evermq.daemon.exposition import Exposition, serve_metrics
from evermq.daemon.watching import TopicSeen, Watcher
from evermq.drills.engines.ports import free_port
from evermq.ha import quorum
from evermq.ha.agreement import Agreement, encode
from evermq.ha.breaker import State
from evermq.ha.failover import Failover
from evermq.message import MessageFactory
from evermq.policy.ordered import Ordered

make = MessageFactory()
Samples = dict[tuple[str, str], float]


def ladder(directory: Path) -> Path:
    config = directory / "evermq.toml"
    config.write_text(
        '[topics.orders]\nuse = "failover"\ngroups = ["billing"]\norder = "key"\ndedupe = "producer"\n'
        f'progress = "log://{directory}/progress"\nprimary = "log://{directory}/a/orders"\n'
        f'standby = "log://{directory}/b/orders"\nlast = "log://{directory}/last/orders"\n'
        f'switch = "file://{directory}/switch?remember={directory}/kept"\n'
    )
    return config


@pytest.fixture(autouse=True)
def figures_are_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorum, "_SAY_AGAIN_MS", 100)


def scrape(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = str(answer.read(), "utf-8")
    found = re.findall(r"^(evermq_\w+){(.*)} (\S+)$", text, re.MULTILINE)
    return {(name, re.sub(r'(host|process)="[^"]*",', "", labels)): float(value) for name, labels, value in found}


async def until(config: Path, condition: Callable[[TopicSeen], bool]) -> TopicSeen:
    watcher = Watcher("orders", config)
    while not condition(seen := await watcher.look()):
        await asyncio.sleep(0.05)
    return seen


async def send_with_a_double(queue: Ordered) -> None:
    """Five messages, of which the first stands on the standby as well."""
    inner = queue._queue
    assert isinstance(inner, Failover)
    await queue.append([make(b"%d" % n, key="k") for n in range(5)])
    raw = await inner.rungs["primary"].reader("raw")
    [first, *_] = await raw.read(count_max=100, wait_ms=5_000)
    await raw.close()
    await inner.rungs["standby"].append([first.message])


async def test_prometheus_and_people_see_what_order_did_in_each_process(tmp_path: Path) -> None:
    config = ladder(tmp_path)
    queue = await build(load(config)["orders"])
    assert isinstance(queue, Ordered)
    await send_with_a_double(queue)
    reader = await queue.reader("billing")
    count = 0
    while count < 5 or not reader.counts.dropped:
        found = await reader.read(count_max=10, wait_ms=100)
        await reader.ack(found)
        count += len(found)
    seen = await until(config, lambda seen: has(seen, "doubles"))
    exposition, port = Exposition(), free_port()
    exposition.seen = seen
    serve_metrics(exposition, port)
    samples = await asyncio.to_thread(scrape, port)
    assert samples["evermq_order_doubles_total", 'topic="orders"'] == 1
    assert samples["evermq_order_flagged_total", 'topic="orders"'] == 0
    assert samples["evermq_order_holding_messages", 'topic="orders"'] == 0
    assert any("1 doubles" in str(line) for line in lines_of(seen))
    assert samples["evermq_order_buried_total", 'topic="orders"'] == 0
    await reader.close()
    assert queue.figures()["doubles"] == 1  # what was counted stays, whoever counted it
    await (await queue.reader("billing")).close()
    assert queue.figures()["doubles"] == 1
    await queue.close()


def has(seen: TopicSeen, name: str) -> bool:
    assert seen.switch
    return any(member.figures.get(name) for member in seen.switch.members.values())


async def test_lanes_that_are_diverted_are_seen(tmp_path: Path) -> None:
    config = ladder(tmp_path)
    queue = await build(load(config)["orders"])
    topic = load(config)["orders"].root
    coordinator = await connect(SwitchConfig(topic.switch.at))
    agreed = Agreement(epoch=1, away={"primary/0": State.DEGRADED}, by="votes", why="tried", at_ms=SYSTEM.now_ms())
    await coordinator.put(encode(agreed), version=(await coordinator.get()).version)
    seen = await until(config, lambda seen: bool(seen.switch and seen.switch.lanes and seen.switch.members))
    exposition, port = Exposition(), free_port()
    exposition.seen = seen
    serve_metrics(exposition, port)
    samples = await asyncio.to_thread(scrape, port)
    assert samples["evermq_lane_diverted_processes", 'lane="primary/0",topic="orders"'] == 1
    assert any("lane primary/0 is diverted by 1 of 1" in str(line) for line in lines_of(seen))
    await coordinator.close()
    await queue.close()
