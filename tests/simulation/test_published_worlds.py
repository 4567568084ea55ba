"""Protocols that others publish, over the same rungs: what they are said to break is found, and ours passes."""

from evermq.testing.world import run_world
from evermq.testing.worlds.order import play
from evermq.testing.worlds.order_plans import Plan
from evermq.testing.worlds.published import PublishedRun

SEEDS = range(1, 7)
CALM = Plan(primary_down=(0, 0), lies=0.0)


def test_published_protocol_strands_loses_doubles_and_inverts() -> None:
    summary = run_world("published-protocol", SEEDS)
    assert summary["failed"]
    assert {"stranded", "lost", "duplicates_business", "inversions"} <= summary["seen"].keys()


def test_ours_passes_under_the_faults_that_the_published_protocol_meets() -> None:
    summary = run_world("order-beside", SEEDS)
    assert summary["failed"] == [], summary.get("reasons")
    assert {"sent by standby", "kill_consumer", "cut_off"} <= summary["seen"].keys()


def test_published_protocol_passes_where_nothing_fails() -> None:
    found = [play(CALM, seed, PublishedRun) for seed in SEEDS]
    assert [result.failures for result in found] == [[] for _ in SEEDS]
    assert not any(result.seen["inversions"] or result.seen["duplicates_raw"] for result in found)
