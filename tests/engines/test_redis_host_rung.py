"""Both rungs of a real ladder are away, a producer is killed with kill -9, and whoever is left brings back what it had
acknowledged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evermq.drills.engines.redis import Redis

EVERMQ = [sys.executable, "-m", "evermq.daemon.cli"]
COUNT = 300


@pytest.fixture
def config(redis_server: Redis, topic: str, tmp_path: Path) -> Path:
    path = tmp_path / "evermq.toml"
    path.write_text(
        f"[topics.orders]\n"
        f'use = "failover"\n'
        f'groups = ["billing"]\n'
        f'primary = "{redis_server.url(topic)}?lanes=8"\n'
        f'standby = "{redis_server.url(topic + "-standby")}?lanes=16"\n'
        f'last = "log://{tmp_path}/last/orders"\n'
    )
    subprocess.run([*EVERMQ, "topics", "create", "orders", "--config", str(path)], check=True, capture_output=True)
    return path


def lines_of(output: bytes) -> list[dict[str, str]]:
    return [json.loads(line) for line in output.splitlines() if line.endswith(b"}")]


def test_what_a_killed_producer_put_on_its_host_is_brought_back_by_a_reader(
    redis_server: Redis, config: Path, tmp_path: Path
) -> None:
    node = redis_server.nodes["redis"]
    send = [*EVERMQ, "send", "orders", "--config", str(config), "--format", "json", "--batch", "10"]
    answers = (tmp_path / "answers").open("wb")
    producer = subprocess.Popen(send, stdin=subprocess.PIPE, stdout=answers)
    assert producer.stdin
    try:
        first = "".join(f'{{"id":"m-{number}","key":"k","body":"{number}"}}\n' for number in range(10))
        producer.stdin.write(first.encode())
        producer.stdin.flush()
        wait_for(tmp_path / "answers", 10)
        node.kill()
        rest = "".join(f'{{"id":"m-{number}","key":"k","body":"{number}"}}\n' for number in range(10, COUNT))
        producer.stdin.write(rest.encode())
        producer.stdin.flush()
        wait_for(tmp_path / "answers", 200)
    finally:
        producer.send_signal(signal.SIGKILL)
        producer.wait()
        producer.stdin.close()
        answers.close()
        node.start()
    acknowledged = lines_of((tmp_path / "answers").read_bytes())
    assert {"primary", "last"} <= {line.get("via") for line in acknowledged}
    read = [*EVERMQ, "read", "orders", "--config", str(config), "--group", "billing", "--format", "json"]
    done = subprocess.run([*read, "--until-empty"], capture_output=True, timeout=90, check=True)
    handled = {line["id"] for line in lines_of(done.stdout)}
    assert {line["id"] for line in acknowledged if "error" not in line} <= handled
    backlog = [*EVERMQ, "backlog", "orders", "--config", str(config), "--json"]
    left = json.loads(subprocess.run(backlog, capture_output=True, check=True).stdout)
    assert left["backlog"] == 0


def wait_for(path: Path, lines: int) -> None:
    until = time.monotonic() + 60
    while path.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < until, f"only {path.read_bytes().count(chr(10).encode())} lines of {lines}"
        time.sleep(0.05)
