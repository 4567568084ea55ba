"""One group is one write call and one flush, whatever is in it, and nothing else is written on the way."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("appending.py")
CALLS = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync,syncfs,sync_file_range,msync,ftruncate,fallocate"
CALL = re.compile(r"^\d+ +(\w+)\((\d+)?")
PHASES = ["producers", "batches", "large", "blocking", "nothing"]


@dataclass
class Phase:
    groups: int
    writes: int = 0
    flushes: int = 0
    others: int = 0


def run(command: list[str]) -> dict[str, list[int]]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {name: [int(number) for number in numbers] for name, *numbers in lines}


def may_trace() -> bool:
    strace = shutil.which("strace")
    return (
        strace is not None and subprocess.run([strace, "-qq", "true"], capture_output=True, check=False).returncode == 0
    )


def traced(directory: Path, fsync: str) -> dict[str, Phase]:
    """The kernel's side of it: every call of every thread that writes or flushes anything."""
    trace = directory / "trace"
    strace = ["strace", "-f", "-qq", "-s", "24", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
    told = run([*strace, sys.executable, str(CHILD), str(directory / "log"), fsync])
    phases = {name: Phase(numbers[0]) for name, numbers in told.items()}
    current = None
    for line in trace.read_text().splitlines():
        marker = re.search(r'write\(2, "(BEGIN|END) (\w+)', line)
        if marker:
            current = phases[marker[2]] if marker[1] == "BEGIN" else None
        elif current and (call := CALL.match(line)):
            count(current, call[1], call[2] or "", line)
    return phases


def count(phase: Phase, call: str, fd: str, line: str) -> None:
    is_write = call in ("pwrite64", "pwritev", "pwritev2", "write", "writev")
    phase.writes += is_write
    phase.flushes += call in ("fdatasync", "fsync") or "RWF_DSYNC" in line
    phase.others += not is_write and call not in ("fdatasync", "fsync")


def counted_inside(directory: Path, fsync: str) -> dict[str, Phase]:
    told = run([sys.executable, str(CHILD), str(directory / "log"), fsync, "inside"])
    return {name: Phase(*numbers) for name, numbers in told.items()}


def phases(directory: Path, fsync: str) -> dict[str, Phase]:
    return traced(directory, fsync) if may_trace() else counted_inside(directory, fsync)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="system calls are counted on Linux")
@pytest.mark.parametrize("count_calls", [phases, counted_inside])
def test_group_is_one_write_and_one_flush(count_calls: object, tmp_path: Path) -> None:
    assert callable(count_calls)
    found = count_calls(tmp_path, "always")
    assert list(found) == PHASES
    for name, phase in found.items():
        assert phase == Phase(phase.groups, writes=phase.groups, flushes=phase.groups), name
    assert found["blocking"].groups == 20
    assert found["producers"].groups < 640 / 4  # 640 messages: they did share groups
    assert found["large"].groups >= 5  # 4 callers at a time, 1.5 MB each, groups are cut at 4 MiB
    assert found["nothing"].groups == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="system calls are counted on Linux")
def test_policy_never_writes_once_and_flushes_not_at_all(tmp_path: Path) -> None:
    for name, phase in phases(tmp_path, "never").items():
        assert phase == Phase(phase.groups, writes=phase.groups), name


def test_calls_are_traced_from_outside_in_ci() -> None:
    if not os.environ.get("CI"):
        pytest.skip("at home the process may count its own calls, where there is no strace")
    assert may_trace(), "strace is missing or may not trace: tools/setup installs it"
