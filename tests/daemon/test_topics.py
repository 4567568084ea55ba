"""evermq topics, of a URL and of a topic of the configuration."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EVERMQ = [sys.executable, "-m", "evermq.daemon.cli"]


def evermq(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EVERMQ, *arguments], text=True, capture_output=True, timeout=60, check=False)


def objects(ran: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert (ran.returncode, ran.stderr) == (0, "")
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    rungs = "\n".join(f'{rung} = "log://{tmp_path}/{rung}/orders?lanes=2"' for rung in ("primary", "standby"))
    path = tmp_path / "evermq.toml"
    path.write_text(f'[topics.orders]\nuse = "failover"\ngroups = ["billing"]\n{rungs}\n')
    return ["--config", str(path)]


def test_topic_of_the_configuration_is_made_and_listed_queue_by_queue(tmp_path: Path, config: list[str]) -> None:
    urls = [f"log://{tmp_path}/{rung}/orders" for rung in ("primary", "standby")]
    made = objects(evermq("topics", "create", "orders", "--json", *config))
    assert made == [{"topic": "orders", "groups": ["billing"], "url": url, "differs": []} for url in urls]
    expected = [{"topic": "orders", "lanes": 2, "groups": ["billing"], "url": url} for url in urls]
    assert objects(evermq("topics", "list", "orders", *config)) == expected
    assert objects(evermq("topics", "orders", "--json", *config)) == expected


def test_what_differs_is_told_as_json_or_on_standard_error(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"
    assert objects(evermq("topics", "create", url, "--lanes", "2", "--json"))[0]["differs"] == []
    differs = "topic orders has 2 lanes, not 3; it keeps them"
    assert objects(evermq("topics", "create", url, "--lanes", "3", "--json"))[0]["differs"] == [differs]
    plain = evermq("topics", "create", url, "--lanes", "3")
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, "", differs + "\n")


def test_topic_that_the_configuration_does_not_have_is_wrong_use(config: list[str]) -> None:
    ran = evermq("topics", "list", "invoices", *config)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no topic 'invoices'; it has orders" in ran.stderr


def test_topic_that_was_never_made_is_not_made_by_looking(tmp_path: Path, config: list[str]) -> None:
    ran = evermq("topics", "list", "orders", *config)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "holds no log" in ran.stderr
    assert not (tmp_path / "primary").exists()


def test_group_of_a_log_is_moved(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"
    send = [sys.executable, "-m", "evermq", "send", url]
    subprocess.run(send, input=b"a\nb\n", check=True, timeout=60, capture_output=True)
    read = ("read", url, "--group", "billing", "--until-empty", "--idle-ms", "100")
    assert evermq(*read).stdout.split() == ["a", "b"]
    assert evermq("topics", "reset", url, "--group", "billing", "--to", "oldest").returncode == 0
    assert evermq(*read).stdout.split() == ["a", "b"]
    nobody = evermq("topics", "reset", url, "--group", "nobody", "--to", "oldest")
    assert nobody.returncode != 0
    assert "topic orders has no group nobody" in nobody.stderr
