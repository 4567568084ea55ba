"""The drill `degrade` itself: it passes over ladders that hold, fails where the way down is shut, and touches only what
it may."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.drills.ladders import QUICK, SHORT, ladder
from tests.needed import needed

from evermq.daemon.commands.drill import list_
from evermq.drills.archive import Held, find, held
from evermq.drills.conduct import hold
from evermq.drills.own_topic import copy
from evermq.drills.setting import engines_of, keeps_order, started
from evermq.errors import Misconfigured

pytestmark = pytest.mark.timeout(400)  # of many processes, on a machine that others use as well


async def test_frozen_log_of_a_users_ladder_is_left_and_returned_to(tmp_path: Path) -> None:
    config = ladder(tmp_path, f"log://{tmp_path}/a/orders")
    done = await hold(SHORT, topic="orders", config=config, directory=tmp_path / "drills", live=False)
    figures = done.figures
    assert figures["verdict"] == "PASS", figures
    assert figures["lost"] == figures["stranded"] == 0
    assert figures["flip_s"] > 0
    assert figures["return_s"] > 0
    assert figures["kills"] == 3
    assert figures["through"]["standby"] > 20
    assert set(figures["send_p99_ms"]) == {"healthy", "outage", "return"}
    assert Path(figures["picture"]).read_bytes().startswith(b"\x89PNG")
    page = Path(figures["report"]).read_text()
    assert "senders left the primary" in page
    assert f"{figures['goals']['stall_max_s']['is']}</td>" in page
    [note] = done.notes
    assert note.endswith("not effects in a transaction: the topic has no progress")
    assert not (tmp_path / "switch").exists()
    assert not list(tmp_path.glob("switch-drill*"))
    assert find(None, tmp_path / "drills") == held(tmp_path / "drills")[0] == done


@pytest.mark.engine
async def test_killed_redis_that_the_drill_started_is_left_and_returned_to(tmp_path: Path) -> None:
    with needed():
        done = await hold(SHORT, engines="redis", directory=tmp_path, live=False, switch=QUICK)
    assert done.figures["verdict"] == "PASS", done.figures
    assert done.engines == ["redis"]
    assert done.order is False
    assert done.versions["redis"]


async def test_server_that_evermq_did_not_start_is_never_killed(tmp_path: Path) -> None:
    config = ladder(tmp_path, "redis://127.0.0.1:1/orders")
    with pytest.raises(Misconfigured, match="was not started by evermq dev up"):
        await hold(SHORT, topic="orders", config=config, fault="kill", directory=tmp_path / "drills", live=False)
    assert not list((tmp_path / "drills").iterdir())


@pytest.mark.parametrize(
    ("primary", "fault", "reason"),
    [
        ("kafka://127.0.0.1:1/orders", "cut", "past any proxy"),
        ("redis://127.0.0.1:1/orders?sentinel=main", "cut", "past any proxy"),
        ("rediss://127.0.0.1:1/orders", "slow", "speaks TLS"),
        ("log:///tmp/evermq-nowhere/orders", "kill", "a log has no server"),
        ("log:///tmp/evermq-nowhere/orders", "burn", "is not known"),
    ],
)
async def test_fault_that_cannot_be_made_there_is_refused(
    tmp_path: Path, primary: str, fault: str, reason: str
) -> None:
    config = ladder(tmp_path, primary)
    with pytest.raises(Misconfigured, match=reason):
        await hold(SHORT, topic="orders", config=config, fault=fault, directory=tmp_path / "drills", live=False)


async def test_topic_without_a_ladder_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    config.write_text(f'[topics.orders]\nqueue = "log://{tmp_path}/a/orders"\n')
    with pytest.raises(Misconfigured, match="nowhere to go"):
        await hold(SHORT, topic="orders", config=config, directory=tmp_path / "drills", live=False)


@pytest.mark.parametrize(
    "names", ["", "zookeeper", "kafka,redis,rabbitmq,rocketmq", "kafka,kafka", "redis,zookeeper,etcd", "cafka"]
)
def test_engines_that_make_no_ladder_are_refused(names: str) -> None:
    with pytest.raises(Misconfigured):
        engines_of(names)


def test_engines_take_their_places_whatever_their_order() -> None:
    assert engines_of("zookeeper,redis,kafka") == (["kafka", "redis"], ["zookeeper"], [])
    assert engines_of("kafka-three, rabbitmq") == (["kafka-three", "rabbitmq"], [], [])
    assert engines_of("redis,rabbitmq,zookeeper,kafka") == (["rabbitmq", "kafka", "redis"], ["zookeeper"], [])
    assert engines_of("mariadb,rabbitmq,redis") == (["rabbitmq", "redis"], [], ["mariadb"])


def test_order_is_kept_over_two_rungs_unless_it_is_told_otherwise() -> None:
    assert keeps_order("kafka,redis,zookeeper")
    assert keeps_order("zookeeper,redis,rabbitmq,mariadb")
    assert not keeps_order("kafka,zookeeper")


async def test_database_that_nothing_would_be_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="postgresql keeps progress, which only --order needs"):
        async with started("redis,postgresql", "kill", tmp_path):
            pass


def test_drill_has_names_of_its_own_on_every_rung_and_the_database_of_the_topic(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    config.write_text(
        '[topics.orders]\nuse = "failover"\ngroups = ["a"]\nprimary = "kafka://h:1/orders"\n'
        'standby = { use = "spooled", local = "log:///l/orders", remote = "redis://r/orders?lanes=128" }\n'
        'last = "log:///last/orders"\norder = "key"\nprogress = "postgresql://shop:secret@db/shop"\n'
        'switch = "etcd://e:1/evermq/orders?username=u&remember=/var/kept"\n'
    )
    path = copy("orders", config, tmp_path / "copy.toml", "r1")
    copied = path.read_text()
    for url in ("kafka://h:1/orders-drill-r1", "log:///l/orders-drill-r1", "redis://r/orders-drill-r1?lanes=128"):
        assert f'"{url}"' in copied
    assert "[topics.orders-drill-r1]" in copied
    assert 'groups = ["a-drill-r1"]' in copied
    assert 'progress = "postgresql://shop:secret@db/shop"' in copied
    assert 'switch = "etcd://e:1/evermq/orders-drill-r1?username=u"' in copied
    assert path.stat().st_mode & 0o777 == 0o600


def test_list_says_whether_order_was_kept_where_that_was_written_down(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    figures = {"verdict": "PASS", "flip_s": 0.5}
    for id, order in (("1", None), ("2", False), ("3", True)):
        (tmp_path / id).mkdir()
        Held(id, "degrade", "kill", ["kafka"], "", {}, 1, {}, figures, order=order).write(tmp_path / id)
    old = json.loads((tmp_path / "1" / "drill.json").read_text())
    del old["order"]
    (tmp_path / "1" / "drill.json").write_text(json.dumps(old))
    list_(directory=tmp_path)
    assert [line.partition("0.50 s")[2].strip() for line in capfd.readouterr().out.splitlines()] == [
        "",
        "no order",
        "order kept",
    ]
    list_(json=True, directory=tmp_path)
    assert [json.loads(line)["order"] for line in capfd.readouterr().out.splitlines()] == [None, False, True]


def test_command_line_answers_as_json_and_lists_what_was_held(tmp_path: Path) -> None:
    def evermq(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "evermq.daemon.cli", "drill", *arguments, "--dir", str(tmp_path / "drills")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)

    ladder(tmp_path, f"log://{tmp_path}/a/orders")
    done = evermq("degrade", "--topic", "orders", "--hold", "2", "--json")
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    figures = json.loads(line)
    assert figures["verdict"] == "PASS"
    assert set(figures["goals"]) == {"flip_s", "outage_p99_ratio", "stall_max_s"}
    wanted = {"flip_s", "return_s", "stall_max_s", "send_p99_ms", "through", "recovery_s", "messages_per_s", "kills"}
    assert wanted <= figures.keys()
    [line] = evermq("list").stdout.splitlines()
    assert line.startswith(figures["id"])
    assert line.endswith("no order")
    assert json.loads(evermq("show", "--json").stdout)["flip_s"] == figures["flip_s"]
    assert "  goals: all senders have left (s) " in evermq("show").stdout
    assert evermq("show", "1999").returncode == 2
    assert evermq("degrade").returncode == 2
