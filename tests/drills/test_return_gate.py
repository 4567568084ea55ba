"""How long senders may take to return in a drill of many cycles, where each outage would make the next dwell longer."""

from collections.abc import Mapping
from pathlib import Path

from evermq.drills.conduct import switch_of
from evermq.drills.degrade import Degrade, Plan
from evermq.drills.engines.redis import Redis
from evermq.drills.faults.rows import Engines
from evermq.drills.own_topic import topic_of
from evermq.drills.setting import over

MANY = Plan(cycles=20)


async def gates(directory: Path, plan: Plan, switch: Mapping[str, int]) -> list[float]:
    """Of all cycles, over a topic whose switch has these numbers; nothing is started."""
    redis = Redis(directory / "redis")
    redis.port = 6379
    async with over(Engines(redis, (), None, ("redis",)), "kill", directory, switch=switch) as setting:
        drill = Degrade(setting, plan, directory)
    return [drill.return_s(cycle) for cycle in range(1, plan.cycles + 1)]


async def test_gate_allows_for_what_the_dwell_of_the_topic_can_have_grown_to(tmp_path: Path) -> None:
    found = await gates(tmp_path, MANY, {})
    assert found[:7] == [120, 135, 165, 225, 345, 405, 405]
    assert found[-1] == 405


async def test_gate_of_a_topic_that_stays_away_for_long_allows_for_it_from_the_first_cycle_on(tmp_path: Path) -> None:
    assert await gates(tmp_path, Plan(), {"dwell_ms": 200_000}) == [120 + 185]


async def test_gate_of_engines_that_the_drill_started_stays_for_their_dwell_does_not_grow(tmp_path: Path) -> None:
    assert set(await gates(tmp_path, MANY, switch_of(MANY, {}))) == {120}
    pace = topic_of("orders", tmp_path / "evermq.toml").root.switch.settings(1).pace
    assert pace.dwell_ms == pace.dwell_ms_max == 15_000


def test_one_cycle_leaves_the_switch_as_it_is_and_numbers_that_are_given_stay() -> None:
    assert switch_of(Plan(), {}) == {}
    assert switch_of(MANY, {"dwell_ms": 1_000}) == {"dwell_ms": 1_000, "dwell_ms_max": 1_000}
    assert switch_of(MANY, {"dwell_ms_max": 60_000}) == {"dwell_ms_max": 60_000}
