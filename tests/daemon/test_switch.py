"""The switch in a configuration and at the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evermq.clock import SYSTEM
from evermq.compose.build import open as open_topic
from evermq.compose.config import parse
from evermq.errors import Misconfigured
from evermq.ha.agreement import Agreement, Pin, decode, encode
from evermq.ha.breaker import State
from evermq.ha.failover import Failover
from evermq.ha.switch import Settings, Switch
from evermq.message import MessageFactory

EVERMQ = [sys.executable, "-m", "evermq.daemon.cli"]
LADDER = '[topics.orders]\nuse = "failover"\nprimary = "memory://a/orders"\nstandby = "memory://b/orders"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A ladder with a switch in a directory."""
    path = tmp_path / "evermq.toml"
    path.write_text(LADDER + f'switch = "file://{tmp_path}/switch?remember={tmp_path}/kept"\n')
    return path


def switch(config: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [*EVERMQ, "switch", *arguments, "--config", str(config)]
    ran = subprocess.run(command, capture_output=True, timeout=110, check=False)
    assert b"Traceback" not in ran.stderr
    return ran.returncode, json.loads(ran.stdout or b"{}"), ran.stderr.decode()


def test_rung_is_pinned_and_released_with_who_and_why_on_record(config: Path) -> None:
    status, shown, _ = switch(config, "show", "orders")
    assert (status, shown["epoch"], shown["state"], shown["pin"]) == (0, 0, "normal", None)
    status, shown, _ = switch(config, "pin", "orders", "standby", "--why", "new disks", "--who", "ann", "--json")
    assert (status, shown["epoch"]) == (0, 1)
    status, shown, _ = switch(config, "show", "orders", "--json")
    assert (shown["pin"]["rung"], shown["pin"]["who"], shown["pin"]["why"]) == ("standby", "ann", "new disks")
    assert (shown["by"], shown["why"]) == ("ann", "pinned to standby: new disks")
    status, shown, _ = switch(config, "release", "orders", "--why", "done")
    assert (status, shown["epoch"], shown["pin"], shown["why"]) == (0, 2, None, "released: done")
    assert "@" in shown["by"]


def test_second_standby_is_pinned_by_its_key(config: Path) -> None:
    config.write_text(f'{config.read_text()}standby2 = "memory://c/orders"\n')
    status, shown, _ = switch(config, "pin", "orders", "standby2", "--why", "new disks", "--json")
    assert (status, shown["pin"]["rung"]) == (0, "standby2")
    assert [*shown["rungs"]] == ["primary", "standby", "standby2"]


def test_wrong_use_of_the_switch_is_named(config: Path) -> None:
    assert switch(config, "pin", "orders", "nowhere", "--why", "x")[::2] == (
        2,
        "evermq: orders has no rung 'nowhere': it has primary, standby\n",
    )
    assert switch(config, "show", "other")[0] == 2
    config.write_text(LADDER)
    status, _, said = switch(config, "show", "orders")
    assert status == 2
    assert "has no switch that is shared" in said


def test_forged_value_is_told_and_the_hand_writes_over_it(config: Path) -> None:
    switch(config, "show", "orders")
    (config.parent / "switch" / "value").write_bytes(b"7\n{}")
    status, shown, said = switch(config, "show", "orders")
    assert (status, shown["epoch"]) == (0, 0)
    assert "refused by everybody" in said
    status, shown, _ = switch(config, "pin", "orders", "standby", "--why", "x")
    assert shown["epoch"] > 1_000_000
    assert decode((config.parent / "switch" / "value").read_bytes().partition(b"\n")[2], SYSTEM.now_ms()).pin


def test_coordinator_that_is_away_leaves_what_it_said_last(config: Path) -> None:
    switch(config, "pin", "orders", "standby", "--why", "x")
    (config.parent / "switch" / "value").unlink()
    (config.parent / "switch" / "value").mkdir()
    status, shown, said = switch(config, "show", "orders")
    assert status == 4
    assert "this is what it said last" in said
    assert shown["pin"]["rung"] == "standby"


async def test_ladder_follows_the_switch_of_its_configuration(config: Path, tmp_path: Path) -> None:
    queue = await open_topic("orders", config)
    assert isinstance(queue, Failover)
    message = MessageFactory()
    assert (await queue.append([message("x")]))[0].via == ("primary",)
    agreed = Agreement(epoch=1, pin=Pin("standby", "ann", "x", 1))
    (tmp_path / "switch" / "value").write_bytes(b"1\n" + encode(agreed))
    while (await queue.append([message("x")]))[0].via == ("primary",):
        pass
    await queue.close()
    assert not [path for path in (tmp_path / "switch" / "members").iterdir() if not path.name.startswith(".")]


async def test_every_number_of_the_switch_can_be_set(tmp_path: Path) -> None:
    text = LADDER + (
        "append_ms_max = 500\n[topics.orders.switch]\nhost = 'h'\nfailures = 3\ndwell_ms = 0\ncanary = 7\n"
        "trickle = 0\nspan_ms = 1\n"
    )
    settings = parse(text, "x")["orders"].root.switch.settings(500)
    assert (settings.limits.failures, settings.limits.slow_ms, settings.limits.span_ms) == (3, 500, 1)
    assert (settings.pace.dwell_ms, settings.canary, settings.trickle) == (0, 7, 0)
    alone = parse(LADDER, "x")["orders"].root.switch
    assert (alone.at, alone.settings(800)) == ("", Settings(trickle=0))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("switch = 3", "switch must be a URL"),
        ('switch = "ftp://x/y"', "known are file:///directory"),
        ('switch = { at = "file:///d", failure = 3 }', "did you mean 'failures'"),
        ('switch = { at = "file:///d", failures = 0 }', "failures must be a whole number from 1 on"),
        ("switch = { at = 5 }", "at must be a text"),
        ("switch = {}", "switch must be a URL"),
        ("swich = 'file:///d'", "did you mean 'switch'"),
    ],
)
def test_wrong_switch_is_refused_with_the_way_out(given: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        parse(LADDER + given, "x")


def test_only_a_failover_has_a_switch() -> None:
    with pytest.raises(Misconfigured, match="'switch' is not known"):
        parse('[topics.t]\nqueue = "memory://a/t"\nswitch = "file:///d"\n', "x")


async def test_process_for_itself_diverts_without_a_switch(tmp_path: Path) -> None:
    path = tmp_path / "evermq.toml"
    path.write_text(LADDER)
    queue = await open_topic("orders", path)
    assert isinstance(queue, Failover)
    assert isinstance(queue.choice, Switch)
    assert queue.choice.state is State.NORMAL
    await queue.close()


def test_switch_of_two_topics_is_refused() -> None:
    rungs = 'use = "failover"\nprimary = "memory://a/{0}"\nstandby = "memory://b/{0}"\nswitch = "file:///d/{1}"\n'
    text = (
        "[topics.orders]\n"
        + rungs.format("orders", "one")
        + "[topics.bills]\n"
        + rungs.format("bills", "one?remember=/x")
    )
    with pytest.raises(Misconfigured, match="give it its own"):
        parse(text, "x")
    assert set(parse(text.replace("one?remember", "other?remember"), "x")) == {"orders", "bills"}


def test_file_of_what_was_agreed_is_one_topics_alone() -> None:
    rungs = """[topics.{0}]
use = "failover"
primary = "log:///a/{0}"
standby = "log:///b/{0}"
switch = "zookeeper://z/{0}?remember={1}"
"""
    text = rungs.format("orders", "/var/kept/one") + rungs.format("bills", "/var/./kept/one")
    with pytest.raises(Misconfigured, match=r"x: \[topics.bills\] remembers .*in the file of \[topics.orders\]"):
        parse(text, "x")
    assert set(parse(text.replace("./kept/one", "kept/other"), "x")) == {"orders", "bills"}
