"""The goals of a drill's figures, and how a miss is shown."""

import pytest

from evermq.drills.engines.redis import Redis
from evermq.drills.faults.outages import Outage, of_engine
from evermq.drills.faults.rows import ROWS, Engines
from evermq.drills.figures import Figures
from evermq.drills.goals import goals_of, rows, told


async def nothing() -> None: ...


def outage(*, total: bool = True, refuses: bool = True) -> Outage:
    return Outage("some", nothing, nothing, total=total, refuses=refuses)


def figures(flip_s: float | None = 0.5, healthy: float | None = 10.0, outage: float | None = 15.0) -> Figures:
    return Figures(flip_s=flip_s, stall_max_s=1.2, send_p99_ms={"healthy": healthy, "outage": outage})


def test_each_goal_has_what_is_and_what_it_is_to_be_at_most() -> None:
    assert goals_of(figures(), outage()) == {
        "flip_s": {"is": 0.5, "at_most": 3.0, "met": True},
        "outage_p99_ratio": {"is": 1.5, "at_most": 2.0, "met": True},
        "stall_max_s": {"is": 1.2, "at_most": 1.0, "met": False},
    }


def test_sender_may_stand_longer_before_a_primary_that_is_silent() -> None:
    assert goals_of(figures(), outage(refuses=False))["stall_max_s"] == {"is": 1.2, "at_most": 3.0, "met": True}


def test_sender_that_never_left_misses_the_goal() -> None:
    found = goals_of(figures(flip_s=None, outage=None), outage())
    assert found["flip_s"] == {"is": None, "at_most": 3.0, "met": False}
    assert found["outage_p99_ratio"]["met"] is False


def test_nobody_has_to_leave_a_primary_that_fails_in_part() -> None:
    found = goals_of(figures(flip_s=20, outage=None), outage(total=False))
    assert found["flip_s"] == {"is": None, "at_most": 3.0, "met": None}
    assert found["outage_p99_ratio"]["met"] is None


def test_healthy_phase_in_which_nothing_was_sent_has_no_ratio() -> None:
    assert goals_of(figures(healthy=None), outage())["outage_p99_ratio"]["is"] is None


def test_miss_is_shown_plainly() -> None:
    found = goals_of(figures(flip_s=None), outage())
    assert [row[3] for row in rows(found)] == ["MISSED", "met", "MISSED"]
    assert "all senders have left (s) -, at most 3.0: MISSED" in told(found)
    assert "longest stall of a sender (s) 1.2, at most 1.0: MISSED" in told(found)


@pytest.mark.parametrize(
    ("fault", "refuses"),
    [("kill", True), ("stop", True), ("freeze", False), ("blind", True), ("one-way", False), ("leader-kill", False)],
)
def test_primary_whose_processes_are_gone_refuses(fault: str, refuses: bool) -> None:
    redis = Redis()
    whole = Engines(redis, (), None, ("redis",))
    made = ROWS[fault].outage(fault, whole, [], "orders") if fault in ROWS else of_engine(redis, fault)
    redis.stop()
    assert made.refuses is refuses
