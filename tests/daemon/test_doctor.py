"""evermq doctor on the engines that need no server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evermq.adapters.address import parse
from evermq.adapters.log.inspect import inspect, mount_of
from evermq.errors import Misconfigured, Unavailable
from evermq.traits import Durable


def doctor(*arguments: str) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "evermq.daemon.cli", "doctor", *arguments, "--json"]
    ran = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return ran.returncode, json.loads(ran.stdout or b"{}")


def test_log_that_is_flushed_on_a_disk_passes_and_is_not_made(tmp_path: Path) -> None:
    status, found = doctor(f"log://{tmp_path}/log/orders")
    kind, _ = mount_of(tmp_path.resolve(), Path("/proc/self/mounts").read_text())
    assert (status, found["durable"]) == ((1, "process") if kind == "tmpfs" else (0, "disk"))
    assert found["url"] == f"log://{tmp_path}/log/orders"
    assert not (tmp_path / "log").exists()


def test_log_that_is_flushed_now_and_then_fails_with_the_advice(tmp_path: Path) -> None:
    status, found = doctor(f"log://{tmp_path}/log/orders?fsync=interval")
    assert (status, found["durable"]) == (1, "process")
    findings = found["findings"]
    assert isinstance(findings, list)
    [fsync] = [each for each in findings if each["setting"] == "fsync"]
    assert fsync["value"] == "interval"
    assert "fsync=always" in fsync["advice"]


async def test_loop_that_writes_itself_is_warned_of(tmp_path: Path) -> None:
    found = (await inspect(parse(f"log://{tmp_path}/log/orders?writer=loop"))).findings
    [writer] = [each for each in found if each.setting == "writer"]
    assert writer.value == "loop"
    assert "writer=thread" in writer.advice


def test_required_class_decides_the_exit_status() -> None:
    assert doctor("memory://m/t")[0] == 1
    assert doctor("memory://m/t", "--require", "memory")[0] == 0
    assert doctor("memory://m/t", "--require", "replicated")[0] == 1
    assert doctor("memory://m/t", "--require", "everything")[0] == 2


def test_topic_may_be_left_out_before_a_slash(tmp_path: Path) -> None:
    assert doctor(f"log://{tmp_path}/", "--require", "process")[1]["url"] == f"log://{tmp_path}"


def test_file_system_of_the_longest_mount_counts() -> None:
    mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /data\\040two xfs rw,nobarrier 0 0\n"
    assert mount_of(Path("/home/x"), mounts) == ("ext4", {"rw"})
    assert mount_of(Path("/tmp/x"), mounts)[0] == "tmpfs"
    assert mount_of(Path("/tmpfoo"), mounts)[0] == "ext4"
    assert mount_of(Path("/data two/q"), mounts) == ("xfs", {"rw", "nobarrier"})


async def test_log_in_memory_survives_only_the_process() -> None:
    found = await inspect(parse("log:///dev/shm/evermq/orders"))
    kind, _ = mount_of(Path("/dev/shm"), Path("/proc/self/mounts").read_text())
    assert (found.durable is Durable.PROCESS) == (kind == "tmpfs")


async def test_wrong_option_and_a_place_that_cannot_be_are_errors() -> None:
    with pytest.raises(Misconfigured, match="did you mean fsync"):
        await inspect(parse("log:///tmp/x/t?fsinc=always"))
    with pytest.raises(Unavailable, match="no directory"):
        await inspect(parse("log:///proc/version/x/t"))


@pytest.mark.parametrize(
    "query",
    [
        "security.protocol=bogus",
        "sasl.mechanism=BOGUS",
        "username=app",
        "security.protocol=SASL_PLAINTEXT",
        "ssl.ca.location=/nonexistent",
        "session.timeout.ms=abc",
        "group.protocol=bogus",
    ],
)
def test_wrong_setting_of_kafka_is_wrong_use_before_anything_is_connected(query: str) -> None:
    assert doctor(f"kafka://127.0.0.1:1/orders?{query}")[0] == 2
