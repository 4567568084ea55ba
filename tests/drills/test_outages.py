"""Outages of real servers under load, one drill each: `make chaos`. Every fault over every pair: the fault matrix."""

from pathlib import Path

import pytest

from evermq.drills.archive import Held
from evermq.drills.conduct import hold
from evermq.drills.degrade import Plan

pytestmark = [pytest.mark.chaos, pytest.mark.engine, pytest.mark.timeout(900)]
ENGINES = "kafka,redis,zookeeper"


async def drill(directory: Path, fault: str, *, hold_s: float, rate: float = 240) -> Held:
    plan = Plan(hold_s=hold_s, rate=rate, return_s_max=300)
    return await hold(plan, engines=ENGINES, fault=fault, directory=directory, live=False)


async def test_all_of_kafka_killed_for_a_minute_loses_nothing(tmp_path: Path) -> None:
    held = await drill(tmp_path, "kill", hold_s=60)
    assert held.figures["verdict"] == "PASS", held.reasons
    assert len(held.figures["cycles"]) == 1


async def test_answers_that_are_lost_make_doubles_and_lose_nothing(tmp_path: Path) -> None:
    held = await drill(tmp_path, "swallow", hold_s=60)
    assert held.figures["verdict"] == "PASS", held.reasons
    assert held.figures["duplicates_raw"] > 0


async def test_clients_restarted_while_primary_and_coordinator_are_gone_send_and_lose_nothing(tmp_path: Path) -> None:
    held = await drill(tmp_path, "primary+coordinator", hold_s=20)
    assert held.figures["verdict"] == "PASS", held.reasons
    assert held.figures["kills"] >= 3


async def test_standby_that_goes_too_leaves_the_hosts_own_log(tmp_path: Path) -> None:
    held = await drill(tmp_path, "primary+standby", hold_s=20)
    assert held.figures["lost"] == held.figures["stranded"] == 0, held.reasons
    assert held.figures["through"].get("last", 0) > 0


async def test_clients_killed_one_after_the_other_lose_nothing(tmp_path: Path) -> None:
    held = await drill(tmp_path, "clients-kill", hold_s=90)
    assert held.figures["verdict"] == "PASS", held.reasons
    assert held.figures["kills"] >= 10
