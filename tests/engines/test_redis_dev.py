"""evermq dev, as scripts use it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from evermq.drills.engines.node import alive
from evermq.drills.engines.ports import answers


def dev(home: Path, *arguments: str) -> tuple[int, list[dict[str, object]], str]:
    command = [sys.executable, "-m", "evermq.daemon.cli", "dev", *arguments, "--dir", str(home), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr


def pid_of(found: dict[str, object]) -> int:
    pids = found["pids"]
    assert isinstance(pids, list)
    return int(pids[0])


def test_server_goes_on_after_up_and_ends_with_down(tmp_path: Path) -> None:
    status, [up], _ = dev(tmp_path, "up", "redis")
    assert (status, set(up)) == (0, {"engine", "url", "pids"})
    pid = pid_of(up)
    port = int(str(up["url"]).rpartition(":")[2].rstrip("/"))
    try:
        assert answers(port, b"PING\r\n") == b"+PONG\r\n"
        assert dev(tmp_path, "up", "redis")[1] == [up]
        assert dev(tmp_path, "status")[:2] == (0, [{**up, "running": True}])
    finally:
        status, ended, _ = dev(tmp_path, "down")
    assert (status, ended) == (0, [up])
    assert not alive(pid)
    assert dev(tmp_path, "status")[:2] == (0, [])


def test_server_that_died_is_reported_and_started_again_by_up(tmp_path: Path) -> None:
    _, [up], _ = dev(tmp_path, "up", "redis")
    os.kill(pid_of(up), signal.SIGKILL)
    try:
        status, [found], _ = dev(tmp_path, "status")
        assert (status, found["running"]) == (1, False)
        _, [again], _ = dev(tmp_path, "up", "redis")
        assert alive(pid_of(again))
    finally:
        dev(tmp_path, "down", "redis")


def test_unknown_engine_and_one_that_does_not_run_are_wrong_use(tmp_path: Path) -> None:
    status, lines, said = dev(tmp_path, "up", "redsi")
    assert (status, lines) == (2, [])
    assert "did you mean redis" in said
    status, _, said = dev(tmp_path, "down", "kafka")
    assert status == 2
    assert "not running" in said
