"""Long outages of real servers under load, in order and without doubles, one drill each: `make chaos`. Shorter ones:
the diagonal. Every fault over every pair: the fault matrix."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.drills.seen import drill

from evermq.drills.degrade import Plan
from evermq.drills.faults.rows import Engines
from evermq.drills.matrix import PACE
from evermq.ha.breaker import State

pytestmark = [pytest.mark.chaos, pytest.mark.engine, pytest.mark.timeout(1800)]


def over(names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("engines", [names], indirect=True, ids=[names.replace(",", "-")])


KAFKAS = over("kafka-three,redis-sentinel,zookeeper-three")


def plan(hold_s: float) -> Plan:
    return Plan(hold_s=hold_s, rate=240, producers=3, consumers=3, leave_s_max=60, return_s_max=300)


@KAFKAS
async def test_rt1_all_of_kafka_killed_for_a_minute(engines: Engines, tmp_path: Path) -> None:
    """RT1, kill all Kafka 60 s: three brokers are killed and started again; nothing is lost, there is one switch each
    way, the standby is empty in the end, and no key is out of order."""
    seen = await drill(engines, "kill", tmp_path, plan=plan(60))
    seen.assert_whole()
    there_and_back = ["primary is degraded", "primary is returning", "primary is normal"]
    assert seen.switched == {f"producer-{number}": there_and_back for number in range(3)}, seen.why


@over("rabbitmq,redis")
async def test_rt2_answers_swallowed_make_doubles_that_take_no_effect(engines: Engines, tmp_path: Path) -> None:
    """RT2, swallow answers: a proxy in front of the broker drops one answer in five for a minute; there are raw doubles
    and none that takes effect, and nothing is lost. The broker is RabbitMQ's: Kafka's drop what is sent again."""
    seen = await drill(engines, "swallow", tmp_path, plan=replace(plan(60), producers=2))
    seen.assert_whole()
    assert seen.held.figures["duplicates_raw"] + seen.agreed.doubles > 0


@KAFKAS
async def test_rt4_clients_restarted_while_primary_and_zookeeper_are_gone_send(
    engines: Engines, tmp_path: Path
) -> None:
    """RT4, ZK all down, restart half the clients: three ZooKeepers stop, the primary is killed, and a producer and a
    consumer of two each are restarted; sends go on, and nothing is lost."""
    seen = await drill(engines, "primary+coordinator", tmp_path, plan=replace(plan(20), producers=2, consumers=2))
    seen.assert_whole()
    assert seen.sent_again


@over("kafka,redis")
async def test_standby_that_goes_too_leaves_the_hosts_own_log(engines: Engines, tmp_path: Path) -> None:
    seen = await drill(engines, "primary+standby", tmp_path, plan=plan(20))
    seen.assert_whole()
    assert seen.held.figures["through"].get("last", 0) > 0


@over("redis,redis-sentinel,zookeeper-three")
async def test_rt7_clients_killed_one_after_the_other(engines: Engines, tmp_path: Path) -> None:
    """RT7, consumer kill loop: one client after the other is killed, all three seconds for five minutes; nothing is
    lost, nothing takes effect twice, and nobody has anything in hand in the end."""
    seen = await drill(engines, "clients-kill", tmp_path, plan=plan(300))
    seen.assert_whole()
    killed = [event.detail for event in seen.at("crash")]
    assert sum("consumer" in detail for detail in killed) >= 15
    assert sum("producer" in detail for detail in killed) >= 15


@KAFKAS
async def test_rt18_flapping_primary_makes_no_flapping_switch(engines: Engines, tmp_path: Path) -> None:
    """RT18, flapping: the primary goes up and down in a square wave of a fifth of a second to a minute, for ten
    minutes; the switch changes at most once in the time that it dwells, and nothing is lost."""
    seen = await drill(engines, "flapping-long", tmp_path, plan=replace(plan(8), return_s_max=420))
    seen.assert_whole()
    [on], [off] = seen.at("fault_on"), seen.at("fault_off")
    most = (off.t - on.t) / 1e6 / PACE["dwell_ms"] + 1
    away = [said.count("primary is degraded") for said in seen.switched.values()]
    assert 1 <= max(away) <= most
    assert seen.agreed.states.count(State.DEGRADED) <= most
