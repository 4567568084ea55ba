"""100,000 crash points of the embedded log, and its life on disks that fail."""

import pytest

from evermq.testing.world import run_world, worlds

CRASHES = [("log-crash-always", 260), ("log-crash-interval", 85), ("log-crash-never", 85)]
CHUNK = 10
CHUNKS = [(name, first) for name, seeds in CRASHES for first in range(1, seeds, CHUNK)]
POINTS_A_SEED_MIN = 150


@pytest.mark.parametrize(("world", "first"), CHUNKS)
def test_crashed_log_keeps_what_it_acknowledged(world: str, first: int) -> None:
    summary = run_world(world, range(first, first + CHUNK))
    assert summary["failed"] == [], summary.get("reasons")
    assert summary["crash_points"] > CHUNK * POINTS_A_SEED_MIN


@pytest.mark.parametrize("world", ["log-io-error", "log-disk-full", "log-bit-rot"])
def test_log_on_a_failing_disk_tells_no_lie(world: str) -> None:
    summary = run_world(world, range(1, 151))
    assert summary["failed"] == [], summary.get("reasons")


@pytest.mark.parametrize("world", sorted(worlds()))
def test_same_seed_is_the_same_run(world: str) -> None:
    assert run_world(world, [7])["trace_hash"] == run_world(world, [7])["trace_hash"]
    assert run_world(world, [7])["trace_hash"] != run_world(world, [8])["trace_hash"]
