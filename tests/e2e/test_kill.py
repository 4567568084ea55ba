"""1,000 times kill -9 on real processes with a real log: what was acknowledged is there, once, in order."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.e2e.rig import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(520)]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A kill takes nothing out of the page cache, so a disk would only be slower."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        yield Path(directory)


def test_log_killed_at_a_call_to_its_disk_loses_nothing_that_was_acknowledged(memory: Path) -> None:
    _check(run("kill_server", memory, "call", 700, 1), 700)


def test_log_killed_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    _check(run("kill_server", tmp_path, "moment", 200, 100_000), 200)


def _check(figures: dict[str, Any], kills: int) -> None:
    assert figures["wrong"] == []
    assert figures["kills"] == kills
    assert (figures["lost"], figures["phantom"]) == (0, 0)
    # Otherwise the kills never met anything under way.
    assert figures["acknowledged"] > kills
    assert figures["uncertain"] > figures["recovered"] > 0
    assert figures["came_again"] > 0


def test_killed_owner_of_a_shared_directory_loses_nothing_of_its_clients(tmp_path: Path) -> None:
    figures = run("door_server", tmp_path, 100, 200_000)
    assert figures["wrong"] == []
    assert figures["kills"] == 100
    assert (figures["lost"], figures["phantom"]) == (0, 0)
    assert figures["acknowledged"] > figures["kills"]
    assert figures["uncertain"] > figures["recovered"] > 0
