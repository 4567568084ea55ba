"""100,000 crash points of the embedded log, and its life on disks that fail and rot."""

import pytest

from evermq.testing.world import run_world, worlds

CHUNK_POINTS = 1_250
CHUNKS = {"log-crash-always": 48, "log-crash-interval": 16, "log-crash-never": 16}
SEEDS_A_CHUNK_MAX = 100


def test_there_are_100_000_crash_points() -> None:
    assert sum(CHUNKS.values()) * CHUNK_POINTS >= 100_000


@pytest.mark.parametrize(("world", "chunk"), [(world, i) for world, count in CHUNKS.items() for i in range(count)])
def test_crashed_log_keeps_what_it_acknowledged(world: str, chunk: int) -> None:
    points = 0
    for seed in range(chunk * SEEDS_A_CHUNK_MAX, (chunk + 1) * SEEDS_A_CHUNK_MAX):
        summary = run_world(world, [seed])
        assert summary["failed"] == [], summary.get("reasons")
        points += summary["crash_points"]
        if seed % 50 == 0:
            assert run_world(world, [seed])["trace_hash"] == summary["trace_hash"]
        if points >= CHUNK_POINTS:
            break
    assert points >= CHUNK_POINTS


FAILING = [
    *(("log-io-error", first, first + 7) for first in range(1, 41, 8)),
    ("log-no-space", 1, 6),
    ("log-disk-full", 1, 60),
]
FAILING += [("log-short-writes", 1, 30), ("log-crash-recycle", 1, 4), ("log-crash-recycle", 5, 8)]
FAILING += [("log-crash-recycle", 500_006, 500_006)]
FAILING += [("log-topics", 1, 5), ("log-topics-refused", 1, 16)]
FAILING += [("log-topics-refused", seed, seed) for seed in (17, 23, 27)]  # what groups did, behind a flush that failed
FAILING += [("log-topics-refused", seed, seed) for seed in (360, 375)]  # a drop in doubt, whose messages were recycled
FAILING += [("log-topics-refused", 192, 192)]  # a kill in the middle of a frame, behind a flush that failed
ROTTEN = [("log-rot", 1, 20), ("log-rot", 21, 40), ("log-rot-open", 1, 60)]
ROTTEN += [("log-rot-open", seed, seed) for seed in (500_162, 500_269)]  # where a message waited, and where it went


@pytest.mark.parametrize(("world", "first", "last"), [*FAILING, *ROTTEN])
def test_log_on_a_failing_disk_tells_no_lie(world: str, first: int, last: int) -> None:
    summary = run_world(world, range(first, last + 1))
    assert summary["failed"] == [], summary.get("reasons")
    assert summary["invalid"] == []


@pytest.mark.parametrize("chunk", range(6))
def test_log_on_a_disk_that_lies_loses_and_makes_up_nothing(chunk: int) -> None:
    summary = run_world("log-lying-sync", range(chunk * 15 + 1, chunk * 15 + 16))
    assert summary["failed"] == [], summary.get("reasons")
    assert len(summary["invalid"]) <= 4
    assert summary["seen"]["acknowledged and lost"] > 300  # else the disk did not lie
    assert summary["seen"]["acknowledged and kept"] > 3_000


def test_log_keeps_its_rules_of_time_while_the_clock_jumps() -> None:
    summary = run_world("log-clock", range(1, 61))
    assert summary["failed"] == [], summary.get("reasons")
    assert len(summary["invalid"]) <= 6
    assert summary["seen"]["settled messages gone by their age"] > 500
    assert summary["seen"]["settled messages kept"] > 500


@pytest.mark.parametrize("world", [world for world in sorted(worlds()) if world.startswith("log-")])
def test_same_seed_is_the_same_run(world: str) -> None:
    once = run_world(world, [7])["trace_hash"]
    assert run_world(world, [7])["trace_hash"] == once
    assert run_world(world, [8])["trace_hash"] != once
