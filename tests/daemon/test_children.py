"""A ladder of which one rung is away: what the others have is shown all the same, and the status says it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EVERMQ = [sys.executable, "-m", "evermq.daemon.cli"]
AWAY = "redis://127.0.0.1:1/orders"


def evermq(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EVERMQ, *arguments], text=True, input=given, capture_output=True, timeout=60, check=False)


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    path = tmp_path / "evermq.toml"
    rungs = f'primary = "{AWAY}"\nstandby = "log://{tmp_path}/standby/orders"\n'
    path.write_text(f'[topics.orders]\nuse = "failover"\ngroups = ["billing"]\n{rungs}')
    return ["--config", str(path)]


def shown(*arguments: str) -> list[dict[str, object]]:
    ran = evermq(*arguments)
    assert ran.returncode == 4, ran.stderr
    assert "127.0.0.1:1 cannot be reached" in ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_what_is_missing_is_made_on_the_rungs_that_are_there(tmp_path: Path, config: list[str]) -> None:
    standby = f"log://{tmp_path}/standby/orders"
    [made] = shown("topics", "create", "orders", "--json", *config)
    assert (made["url"], made["groups"]) == (standby, ["billing"])
    assert evermq("send", standby, given="a\nb\n").returncode == 0
    [backlog] = shown("backlog", "orders", "--json", *config)
    assert (backlog["group"], backlog["backlog"]) == ("billing", 2)
    [listed] = shown("topics", "list", "orders", *config)
    assert listed["url"] == standby
    [described] = shown("topics", "describe", "orders", *config)
    assert described["appended"] == 2


def test_backlog_of_a_group_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"
    assert evermq("topics", "create", url, "--groups", "billing").returncode == 0
    ran = evermq("backlog", url, "--group", "biling")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "orders has billing" in ran.stderr


def test_option_may_stand_before_what_is_listed(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log"
    assert evermq("topics", "create", f"{url}/orders").returncode == 0
    [listed] = [json.loads(line) for line in evermq("topics", "--json", url).stdout.splitlines()]
    assert listed["topic"] == "orders"
    assert "describe" in evermq("topics", "--help").stdout


@pytest.mark.parametrize("to", ["²", "9" * 5_000, "whenever"])
def test_start_that_is_none_names_its_option(tmp_path: Path, to: str) -> None:
    url = f"log://{tmp_path}/log/orders"
    assert evermq("topics", "create", url, "--groups", "g").returncode == 0
    ran = evermq("topics", "reset", url, "--group", "g", "--to", to)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("evermq: --to ")


def test_worlds_that_are_listed_must_pass() -> None:
    listed = evermq("simulate", "--list").stdout.split()
    assert "order-ladder" in listed
    assert not {"published-protocol", "linked-late-group"} & set(listed)
