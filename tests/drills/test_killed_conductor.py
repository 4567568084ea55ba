"""A conductor that is killed leaves no process behind: neither those that bear the load nor servers that it started."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.drills.ladders import ladder
from tests.needed import needed

from evermq.drills.engines.catalog import CATALOG

pytestmark = pytest.mark.timeout(200)


def conductor(directory: Path, *arguments: str) -> psutil.Popen:
    command = [sys.executable, "-m", "evermq.daemon.cli", "drill", "degrade", "--dir", str(directory / "drills")]
    return psutil.Popen(  # type: ignore[no-untyped-call]
        [*command, "--hold", "100", *arguments], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def below(process: psutil.Popen) -> list[psutil.Process]:
    return list(process.children(recursive=True))  # type: ignore[no-untyped-call]


def lives(process: psutil.Process) -> bool:
    """One that only waits to be buried does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)  # type: ignore[no-untyped-call]
    except psutil.NoSuchProcess:
        return False


def until_they_work(process: psutil.Popen, directory: Path, count: int) -> list[psutil.Process]:
    """So many processes below the conductor, once each producer and consumer has begun its history."""
    while len(below(process)) < count or len(list((directory / "drills").glob("*/history-[pc]*r-*"))) < 4:
        assert process.poll() is None, process.returncode
        time.sleep(0.05)
    return below(process)


def kill(process: psutil.Popen, left: list[psutil.Process]) -> None:
    """Kill the conductor, and wait until those that it left are gone."""
    process.kill()  # type: ignore[no-untyped-call]
    process.wait()  # type: ignore[no-untyped-call]
    try:
        until = time.monotonic() + 60
        while (found := [each for each in left if lives(each)]) and time.monotonic() < until:
            time.sleep(0.05)
        assert not found
    finally:
        for each in left:
            if lives(each):
                each.kill()  # type: ignore[no-untyped-call]


def test_all_who_bear_the_load_end_with_it_even_those_that_stand_still(tmp_path: Path) -> None:
    ladder(tmp_path, f"log://{tmp_path}/a/orders")
    process = conductor(tmp_path, "--topic", "orders")
    left = until_they_work(process, tmp_path, 5)  # an owner of the log, two producers, two consumers
    for each in left:
        each.suspend()  # type: ignore[no-untyped-call]
    kill(process, left)


@pytest.mark.engine
def test_servers_that_it_started_end_with_it(tmp_path: Path) -> None:
    with needed():
        CATALOG["redis"].install()
    process = conductor(tmp_path, "--engines", "redis")
    left = until_they_work(process, tmp_path, 6)  # a server and its guard, two producers, two consumers
    kill(process, left)
