"""The command line as scripts use it: real processes, exit statuses, and nothing but lines on standard output."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evermq.daemon.commands import topics
from evermq.port import GroupState, TopicState

EVERMQ = [sys.executable, "-m", "evermq"]


def evermq(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*EVERMQ, *arguments], input=given, capture_output=True, timeout=60, check=False)


def test_what_was_sent_is_read_and_once_only(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"
    lines = b"".join(b'{"body": "%d", "key": "k%d"}\n' % (i, i % 5) for i in range(2000))
    sent = evermq("send", url, "--format", "json", given=lines)
    assert sent.returncode == 0, sent.stderr
    assert [json.loads(line)["via"] for line in sent.stdout.splitlines()] == [""] * 2000
    read = evermq("read", url, "--group", "g", "--format", "json", "--until-empty", "--idle-ms", "100")
    assert sorted(int(json.loads(line)["body"]) for line in read.stdout.splitlines()) == list(range(2000))
    again = evermq("read", url, "--group", "g", "--until-empty", "--idle-ms", "100")
    assert (again.returncode, again.stdout) == (0, b"")
    report = json.loads(evermq("verify", str(tmp_path / "log"), "--json").stdout)
    assert (report["ok"], report["messages"]) == (True, 2000)


def test_bad_line_is_named_and_the_rest_is_sent(tmp_path: Path) -> None:
    sent = evermq("send", f"log://{tmp_path}/log/t", "--format", "json", given=b'{"body":"a"}\n[1]\n{"body":"b"}\n')
    lines = [json.loads(line) for line in sent.stdout.splitlines()]
    assert sent.returncode == 3
    assert next(line for line in lines if line["id"] is None)["detail"].startswith("line 2:")
    assert sum("offset" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["send", "kafak://h/t"], 2, b"kafak"),
        (["send", "log:///tmp/x/t?fsinc=always"], 2, b"did you mean fsync"),
        (["send", "log:///tmp/x/a%0Ab"], 2, b"letters, digits"),
        (["backlog", "log:///tmp/x/t?fsinc=always"], 2, b"did you mean fsync"),
        (["read", "log:///tmp/x/t", "--group", "a/b", "--until-empty"], 2, b"letters, digits"),
        (["read", "log:///tmp/x/t", "--group", "g", "--from", "whenever"], 2, b"--from"),
        (["verify", "/no/such/directory"], 2, b"no directory"),
        (["send", "orders", "--config", "/no/such.toml"], 2, b"/no/such.toml"),
        (["send", "log:///proc/evermq/t"], 4, b"choose another directory"),
        (["simulate", "--world", "nowhere"], 2, b"known are"),
    ],
)
def test_wrong_use_is_one_line_and_a_status(arguments: list[str], status: int, words: bytes) -> None:
    ran = evermq(*arguments)
    assert ran.returncode == status
    assert words in ran.stderr
    assert b"Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stdout == b""


@pytest.mark.parametrize(
    "command", [["backlog", "orders"], ["topics", ""], ["topics", "reset", "orders"], ["topics", "describe", "orders"]]
)
def test_looking_at_a_log_that_is_not_there_makes_none(tmp_path: Path, command: list[str]) -> None:
    directory = tmp_path / "log"
    *words, topic = command
    more = ["--group", "g", "--to", "newest"] if "reset" in words else []
    for _ in ("nothing is there", "an empty directory is there"):
        ran = evermq(*words, f"log://{directory}/{topic}", *more)
        assert ran.returncode == 2
        assert f"{directory} holds no log".encode() in ran.stderr
        assert not directory.exists() or not list(directory.iterdir())
        directory.mkdir(exist_ok=True)


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    config.write_text('[topics.orders]\nuse = "failover"\nprimray = "log:///tmp/a/o"\nstandby = "log:///tmp/b/o"\n')
    ran = evermq("send", "orders", "--config", str(config))
    assert ran.returncode == 2
    assert b"primray" in ran.stderr
    assert b"primary" in ran.stderr


def test_group_is_made_where_it_reads_and_the_pump_s_where_that_does(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    local, remote = f"log://{tmp_path}/local", f"log://{tmp_path}/remote"
    config.write_text(f'[topics.orders]\nuse = "spooled"\nlocal = "{local}/orders"\nremote = "{remote}/orders"\n')
    made = evermq("topics", "create", "orders", "--groups", "billing", "--config", str(config))
    assert made.returncode == 0, made.stderr
    groups = [json.loads(evermq("topics", place).stdout)["groups"] for place in (local, remote)]
    assert groups == [["pump"], ["billing"]]


def test_topic_is_described_with_how_it_is_kept(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/orders"
    evermq("topics", "create", f"{url}?lanes=4", "--groups", "billing,shipping")
    evermq("send", url, given=b"a\nb\n")
    described = evermq("topics", "describe", f"{url}?retain_ms=60000&retain_bytes=1048576", "--json")
    assert described.returncode == 0, described.stderr
    found = json.loads(described.stdout)
    assert (found["topic"], found["lanes"], found["appended"]) == ("orders", 4, 2)
    assert [(name, group["backlog"]) for name, group in found["groups"].items()] == [("billing", 2), ("shipping", 2)]
    kept = {name: found["settings"][name] for name in ("fsync", "retain_bytes", "retain_ms", "unread")}
    assert kept == {"fsync": "always", "retain_bytes": "1048576", "retain_ms": "60000", "unread": "refuse"}


def test_description_for_people_has_a_line_for_each_group_and_setting() -> None:
    groups = {"shipping": GroupState(0, None), "billing": GroupState(2, 1_500)}
    state = TopicState(4, groups, 7, {"fsync": "always", "retain_ms": "60000"})
    assert list(topics._lines("log:///d/t", state)) == [
        "log:///d/t  4 lanes  7 messages ever",
        "  group billing  2 messages, oldest 1.5 s",
        "  group shipping  0 messages",
        "  fsync      always",
        "  retain_ms  60000",
    ]


def test_every_queue_of_a_topic_is_described(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    primary, standby = f"log://{tmp_path}/a/o?fsync=never", f"log://{tmp_path}/b/o"
    config.write_text(f'[topics.orders]\nuse = "failover"\nprimary = "{primary}"\nstandby = "{standby}"\n')
    evermq("topics", "create", "orders", "--config", str(config))
    described = evermq("topics", "describe", "orders", "--config", str(config))
    found = [json.loads(line)["settings"]["fsync"] for line in described.stdout.splitlines()]
    assert found == ["never", "always"]


def test_sigterm_flushes_and_reports(tmp_path: Path) -> None:
    command = [*EVERMQ, "send", f"log://{tmp_path}/log/t", "--linger-ms", "10"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"a\nb\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    read = evermq("read", f"log://{tmp_path}/log/t", "--group", "g", "--until-empty", "--idle-ms", "50")
    assert sorted(read.stdout.split()) == [b"a", b"b"]


def test_two_processes_share_a_directory_and_the_second_takes_over(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/log/t"
    owner = subprocess.Popen([*EVERMQ, "send", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdin
    assert owner.stdout
    owner.stdin.write(b"from the owner\n")
    owner.stdin.flush()
    assert owner.stdout.readline()
    assert evermq("send", url, given=b"through the socket\n").returncode == 0
    owner.kill()
    owner.communicate()
    assert evermq("send", url, given=b"after the owner\n").returncode == 0
    read = evermq("read", url, "--group", "g", "--until-empty", "--idle-ms", "50")
    assert sorted(read.stdout.splitlines()) == [b"after the owner", b"from the owner", b"through the socket"]


def test_simulation_counts_its_seeds_for_who_looks() -> None:
    command = [*EVERMQ, "simulate", "--world", "composite-pump", "--seeds", "1..3"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as ran:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: the other end was closed
            while some := os.read(ours, 4096):
                seen += some
        os.close(ours)
        assert ran.stdout
        told = ran.stdout.read()
    assert b"3 of 3 seeds" in seen
    assert b"of 3 seeds" not in told
    piped = subprocess.run(command, capture_output=True, check=True)
    assert piped.stderr == b"composite-pump: seeds 1 to 3 ...\n"
