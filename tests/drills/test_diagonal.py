"""One drill and more over each pair of real engines, with order and dedupe, in every test run. All faults over all
pairs: the fault matrix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.drills.seen import drill

from evermq.drills.degrade import Plan
from evermq.drills.faults.rows import Engines
from evermq.ha.breaker import State

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

KAFKAS = "kafka-three,redis-sentinel,zookeeper-three"
BRIEF = Plan(healthy_s=3, hold_s=5, rate=200, leave_s_max=60, return_s_max=240)
UNDER_KAFKAS = pytest.mark.parametrize("engines", [KAFKAS], indirect=True, ids=["kafka-redis-zookeeper"])


@UNDER_KAFKAS
async def test_quorum_lost_while_the_primary_is_down_holds_up_no_sends(engines: Engines, tmp_path: Path) -> None:
    seen = await drill(engines, "primary+quorum", tmp_path, plan=replace(BRIEF, hold_s=14))
    seen.assert_whole()
    assert seen.sent_again


@UNDER_KAFKAS
async def test_rt3_those_blind_for_the_coordinator_follow_what_all_follow_in_the_end(
    engines: Engines, tmp_path: Path
) -> None:
    """RT3, ZK blind: the coordinator is cut off from one producer and one consumer, then the primary is killed; nothing
    is stranded, and after the heal all processes follow the same epoch."""
    seen = await drill(engines, "blind", tmp_path, plan=BRIEF)
    seen.assert_whole()
    [epoch] = seen.agreed.followed
    assert epoch > 0


@pytest.mark.parametrize(
    ("engines", "row"),
    [
        pytest.param(KAFKAS, "kill", id="three-kafkas-killed-over-redis-and-three-zookeepers"),
        pytest.param("rabbitmq,redis", "freeze", id="rabbitmq-frozen-over-redis"),
        pytest.param("rocketmq,redis", "kill", id="rocketmq-killed-over-redis"),
        pytest.param("kafka,rabbitmq", "leader-kill", id="leader-of-kafka-killed-over-rabbitmq"),
    ],
    indirect=["engines"],
)
async def test_pair_of_engines_holds_in_order_through(engines: Engines, row: str, tmp_path: Path) -> None:
    seen = await drill(engines, row, tmp_path, plan=BRIEF)
    seen.assert_whole()
    assert State.DEGRADED in seen.agreed.states
    assert seen.held.figures["through"]["standby"] > 20
