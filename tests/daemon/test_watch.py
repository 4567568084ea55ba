"""evermq watch: what is shown of a ladder of which one rung is away, to people, to scripts and to Prometheus."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import evermq
from evermq.daemon.exposition import Exposition, serve_metrics
from evermq.daemon.watching import RungSeen, TopicSeen, Watcher
from evermq.drills.engines.ports import free_port

message = evermq.MessageFactory()


def ladder(directory: Path) -> Path:
    config = directory / "evermq.toml"
    config.write_text(
        '[topics.orders]\nuse = "failover"\ngroups = ["billing"]\n'
        f'primary = "log://{directory}/a/orders"\nstandby = "redis://127.0.0.1:1/orders"\n'
        f'last = "log://{directory}/last/orders"\nswitch = "file://{directory}/switch"\n'
    )
    return config


async def fill(directory: Path, count: int, handled: int) -> None:
    queue = await evermq.open(f"log://{directory}/a/orders")
    reader = await queue.reader("billing")
    await queue.append([message(b"x") for _ in range(count)])
    while handled:
        found = await reader.read(count_max=handled, wait_ms=1000)
        await reader.ack(found)
        handled -= len(found)
    await queue.close()


async def test_backlog_of_each_rung_and_its_rates_are_seen(tmp_path: Path) -> None:
    watcher = Watcher("orders", ladder(tmp_path))
    await fill(tmp_path, 10, 4)
    first = (await watcher.look()).rungs[0]
    assert (first.backlog, first.appended, first.appended_per_s) == ({"billing": 6}, 10, None)
    await fill(tmp_path, 20, 5)
    second = (await watcher.look()).rungs[0]
    assert (second.backlog, second.appended) == ({"billing": 21}, 30)
    assert second.appended_per_s is not None
    handled = second.handled_per_s["billing"]
    assert handled is not None
    assert second.appended_per_s > handled > 0


async def test_rung_that_is_away_is_said_to_be_so_and_is_no_error(tmp_path: Path) -> None:
    seen = await Watcher("orders", ladder(tmp_path)).look()
    assert [(rung.rung, rung.reachable) for rung in seen.rungs] == [
        ("primary", False),  # a log with no such topic yet
        ("standby", False),
        ("last", True),
    ]
    assert "cannot be reached" in seen.rungs[1].why
    assert seen.rungs[2].backlog == {"pump": 0}
    assert seen.switch
    assert (seen.switch.state, seen.switch.epoch, seen.switch.since) == ("normal", 0, None)


async def test_dead_letters_of_a_host_are_seen(tmp_path: Path) -> None:
    watcher, exposition = Watcher("orders", ladder(tmp_path)), Exposition()
    assert (await watcher.look()).rungs[2].dead == 0
    dead = await evermq.open(f"log://{tmp_path}/last/orders.pump.dead")
    await dead.append([message(b"refused"), message(b"refused too")])
    await dead.close()
    exposition.seen = await watcher.look()
    assert [rung.dead for rung in exposition.seen.rungs] == [None, None, 2]
    [counted] = [each.samples for each in exposition.collect() if each.name == "evermq_dead_letters"]
    assert [(each.labels["rung"], each.value) for each in counted] == [("last", 2.0)]
    assert re.search(r"dead +2 messages", evermq_watch(tmp_path, "orders", "--once").stdout)


async def test_second_standby_is_seen_under_its_key(tmp_path: Path) -> None:
    config = ladder(tmp_path)
    config.write_text(f'{config.read_text()}standby2 = "log://{tmp_path}/c/orders"\n')
    exposition = Exposition()
    exposition.seen = await Watcher("orders", config).look()
    assert [rung.rung for rung in exposition.seen.rungs] == ["primary", "standby", "standby2", "last"]
    assert [rung.state for rung in exposition.seen.rungs] == ["normal"] * 4
    samples = [sample for metric in exposition.collect() for sample in metric.samples]
    of_it = {sample.name for sample in samples if sample.labels.get("rung") == "standby2"}
    assert of_it >= {"evermq_rung_up", "evermq_switch_state"}


def test_age_that_nobody_knows_is_no_age_of_nought() -> None:
    exposition = Exposition()
    backlog = {"done": 0, "waits": 3, "told": 2}
    rung = RungSeen(rung="", url="rabbitmq://h/t", backlog=backlog, oldest_s=dict.fromkeys(backlog) | {"told": 1.5})
    exposition.seen = TopicSeen(topic="t", at="", rungs=[rung], switch=None, drill=None)
    [ages] = [each.samples for each in exposition.collect() if each.name == "evermq_consumer_lag_seconds"]
    assert [(each.labels["group"], each.value) for each in ages] == [("done", 0.0), ("told", 1.5)]


async def test_prometheus_sees_the_same(tmp_path: Path) -> None:
    await fill(tmp_path, 10, 4)
    exposition, port = Exposition(), free_port()
    exposition.seen = await Watcher("orders", ladder(tmp_path)).look()
    serve_metrics(exposition, port)
    text = await asyncio.to_thread(scrape, port)
    samples = {name: float(value) for name, value in re.findall(r"^(evermq\S+) (\S+)$", text, re.MULTILINE)}
    rung = 'engine="log",rung="primary",topic="orders"'
    assert samples[f"evermq_messages_appended_total{{{rung}}}"] == 10
    assert samples['evermq_consumer_lag_messages{engine="log",group="billing",rung="primary",topic="orders"}'] == 6
    assert samples['evermq_rung_up{engine="redis",rung="standby",topic="orders"}'] == 0
    assert samples['evermq_switch_state{rung="primary",state="normal",topic="orders"}'] == 1


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read(), "utf-8")


def evermq_watch(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evermq.daemon.cli", "watch", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=60)


def test_command_line_shows_one_object_or_a_table(tmp_path: Path) -> None:
    ladder(tmp_path)
    done = evermq_watch(tmp_path, "--json")
    [line] = done.stdout.splitlines()
    assert json.loads(line)["topic"] == "orders"
    table = evermq_watch(tmp_path, "orders", "--once").stdout
    assert "standby" in table
    assert "switch   normal" in table


@pytest.mark.parametrize("arguments", [("nothing", "--json"), ("ftp://h/t", "--once"), ("--config", "none.toml")])
def test_topic_that_is_not_there_is_wrong_use(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ladder(tmp_path)
    done = evermq_watch(tmp_path, *arguments)
    assert done.returncode == 2, done
    assert not done.stdout
