"""The whole protocol of order over a ladder of failing rungs: every way in which a simpler one broke, by name."""

import pytest

from evermq.policy.collector import Collector
from evermq.testing.world import run_world
from evermq.testing.worlds.order import PLANS

SEEDS = 8
MORE_SEEDS = {"groups": 30, "lanes": 30, "restarts": 30, "cut-off": 60}
EXPECTED = {
    "refused": {"send_fail", "voids"},
    "nothing-left": {"send_fail", "voids"},
    "late-group": {"join_late"},
    "progress-lost": {"lose_progress", "flagged"},
    "tail-lost": {"lose_tail", "flagged"},
    "host-lost": {"lose_host"},
    "rebalances": {"rebalance", "dropped", "returned"},
    "restarts": {"kill_producer", "send_unknown"},
    "adopted": {"kill_producer", "adopted", "voids"},
    "groups": {"sent before the group was added", "handled by the group that was removed", "kill_consumer", "voids"},
    "lanes": {"left in old lanes", "sent to new lanes", "kill_consumer", "voids"},
    "scattered": {"kill_consumer", "cut_off", "released", "voids"},
    "retained": {"kill_producer", "lost by the standby", "replayed"},
    "retained-idle": {"kill_producer", "lost by the standby", "replayed", "copies that stay"},
    "four-rungs": {"kill_producer", "kill_consumer", "rebalance", "sent by standby2", "sent by last"},
    "four-retained": {"lost by the standby", "lost by the standby2", "replayed", "sent by last"},
    "effects": {"kill_consumer"},
    "store": {"kill_consumer"},
    "cut-off": {"cut_off", "fenced"},
    "unread": {"kill_consumer"},
    "ladder": {"kill_producer", "kill_consumer", "rebalance", "released", "voids"},
}
OTHERS = ("adopted", "groups", "lanes", "scattered", "piled-up", "retained", "retained-idle", "four-retained", "any")


@pytest.mark.parametrize("name", [*PLANS, *OTHERS])
def test_nothing_is_lost_doubled_or_out_of_order(name: str) -> None:
    seeds = MORE_SEEDS.get(name, SEEDS)
    summary = run_world(f"order-{name}", range(1, seeds + 1))
    assert summary["failed"] == [], summary.get("reasons")
    assert len(summary["invalid"]) <= seeds * 0.5, f"seeds {summary['invalid']} prove nothing"
    seen = summary["seen"]
    assert seen["sent by primary"]
    assert seen["sent by standby"]
    assert not EXPECTED.get(name, set()) - seen.keys()


def test_lanes_of_before_that_wait_for_lanes_of_now_are_settled() -> None:
    """A refused message was voided after the one behind it had landed, and the lanes had changed in between."""
    summary = run_world("order-lanes", (101, 115))
    assert summary["failed"] == [], summary.get("reasons")


def test_what_was_sent_again_by_way_of_the_last_rung_is_sent_again_once_more() -> None:
    summary = run_world("order-retained", [700_062])
    assert summary["failed"] == [], summary.get("reasons")


def test_copies_of_a_process_that_is_gone_are_told_of_by_others_in_time() -> None:
    summary = run_world("order-retained-idle", [700_104])
    assert summary["failed"] == [], summary.get("reasons")


def test_copies_that_are_taken_over_behind_later_ones_of_their_stream_are_waited_for() -> None:
    summary = run_world("order-retained-idle", [500_002])
    assert summary["failed"] == [], summary.get("reasons")


def test_slots_are_carried_to_where_their_senders_are_until_these_come_back() -> None:
    """The pump of the simulated slots went past the switch, so that much waited in the primary before the return."""
    summary = run_world("order-return", [1_000_008])
    assert summary["failed"] == [], summary.get("reasons")


def test_what_killed_readers_held_and_dropped_counts() -> None:
    """Both readers were killed after the last message was held, and the seed was said to prove nothing."""
    summary = run_world("order-lanes", [1_000_011])
    assert summary["failed"] == [], summary.get("reasons")
    assert summary["invalid"] == []


def test_turn_of_a_reader_that_ends_in_an_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader goes on, and in the end nothing is missing: no other rule would show that."""

    async def turn(self: Collector) -> None:
        raise KeyError("stream")

    monkeypatch.setattr(Collector, "turn", turn)
    assert any("KeyError" in reason for reason in run_world("order-pumped", [1])["reasons"])


def test_seed_is_the_same_run_again() -> None:
    hashes = {run_world("order-ladder", [3])["trace_hash"] for _ in range(2)}
    assert len(hashes) == 1
