"""Protocols that others publish, over the same rungs: what they are said to break is found, and ours passes."""

import pytest

from evermq.testing.world import run_world
from evermq.testing.worlds.linked import LinkedRun
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_plans import Plan
from evermq.testing.worlds.published import PublishedRun

SEEDS = range(1, 7)
FEW_SEEDS = range(1, 5)
CALM = Plan(primary_down=(0, 0), lies=0.0)
LINKED = {
    "long-outage": "duplicates_business",  # what was handled is forgotten before its copy comes
    "progress-lost": "stranded",  # the set was lost with its store
    "restarts-unread": "inversions",  # the producer forgot what it sent last
    "late-group": "stranded",  # the group never handled what was before its time
}


def test_published_protocol_strands_loses_doubles_and_inverts() -> None:
    summary = run_world("published-protocol", SEEDS)
    assert summary["failed"]
    assert {"stranded", "lost", "duplicates_business", "inversions"} <= summary["seen"].keys()


def test_ours_passes_under_the_faults_that_the_published_protocol_meets() -> None:
    summary = run_world("order-beside", SEEDS)
    assert summary["failed"] == [], summary.get("reasons")
    assert {"sent by standby", "kill_consumer", "cut_off"} <= summary["seen"].keys()


@pytest.mark.parametrize("name", LINKED)
def test_links_and_a_set_of_handled_ids_break_where_ours_passes(name: str) -> None:
    linked, ours = run_world(f"linked-{name}", FEW_SEEDS), run_world(f"order-{name}", FEW_SEEDS)
    assert linked["failed"]
    assert LINKED[name] in linked["seen"]
    assert ours["failed"] == [], ours.get("reasons")


@pytest.mark.parametrize("run", [PublishedRun, LinkedRun])
def test_protocol_that_breaks_passes_where_nothing_fails(run: type[Run]) -> None:
    found = [play(CALM, seed, run) for seed in SEEDS]
    assert [result.failures for result in found] == [[] for _ in SEEDS]
    assert not any(result.seen["inversions"] or result.seen["duplicates_raw"] for result in found)
