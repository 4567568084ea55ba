"""How rows come about: ratios of rounds and not of medians, and what happens to a peer that is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import degrade
import engines
import log
import rabbitmq_confirms
import redis_lanes
import rocketmq_sends
import window
from embedded.workbench import Workbench
from rig.contender import Case, Contender, Measure, NotThere
from rig.goals import GOALS
from rig.rounds import Row, run


def contender(figures: Sequence[float], *, lasts: int | None = None) -> Contender:
    """Gives these figures in turn, after one that warms it up, and then is gone."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        left = iter([0.0, *figures[:lasts]])

        def measure(seconds: float) -> float:
            try:
                return next(left)
            except StopIteration:
                raise NotThere("it went away") from None

        yield measure

    return Contender("a contender", ready)


def missing(reason: str) -> Contender:
    @contextmanager
    def ready() -> Iterator[Measure]:
        raise NotThere(reason)
        yield

    return Contender("missing", ready)


def rows(*cases: Case, rounds: int = 3) -> list[Row]:
    return run(cases, rounds=rounds, seconds=0.0)


def test_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    # The machine was three times as fast in the second round; the ratio of the medians would be 2 / 4.
    (row,) = rows(Case("B1", contender([1, 6, 2]), contender([4, 12, 2])))
    assert (row.ratio, row.ratio_min, row.ratio_max) == (0.5, 0.25, 1.0)
    assert (row.subject_per_s, row.peer_per_s, row.rounds) == (2, 4, 3)
    assert row.case == f"B1 {GOALS['B1'].case}"
    assert row.peer == GOALS["B1"].peer


def test_peer_that_is_not_there_is_a_row_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject = contender([1.0] * 6)
    without, other = rows(
        Case("B13", subject, missing("no wheel for this machine")),
        Case("B12", subject, contender([1.0] * 3)),
    )
    assert without.ratio is None
    assert without.rounds == 0
    assert without.reason == "no wheel for this machine"
    assert "left out: missing: no wheel for this machine" in capsys.readouterr().err
    assert other.rounds == 3


def test_peer_that_goes_away_keeps_the_rounds_it_had() -> None:
    gone, other = rows(
        Case("B13", contender([3.0] * 5), contender([1.0] * 5, lasts=2)),
        Case("B12", contender([2.0] * 5), contender([1.0] * 5)),
        rounds=5,
    )
    assert (gone.ratio, gone.rounds) == (3.0, 2)
    assert (other.ratio, other.rounds) == (2.0, 5)


def test_every_goal_has_its_case(tmp_path: Path) -> None:
    with Workbench(tmp_path, "keyed") as bench:
        cases = log.appends(bench) + log.durable_engines(bench) + log.slow_disks(bench) + log.reads(bench)
    cases += window.cases([], 100)
    cases += redis_lanes.cases(tmp_path, 1_000)
    ladders = [number for number in degrade.NUMBERS if number not in redis_lanes.NUMBERS]
    sends = rabbitmq_confirms.NUMBERS + rocketmq_sends.NUMBERS
    served = engines.NUMBERS + sends + ladders  # their cases need a server
    assert [case.number for case in cases] == log.NUMBERS + window.NUMBERS + redis_lanes.NUMBERS
    assert sorted(GOALS) == sorted([*served, *(case.number for case in cases)])


def test_orders_of_the_window_hold_every_number_once_and_keep_its_width() -> None:
    order = window.random_order(5_000, 64)
    assert sorted(order) == list(range(5_000))
    done = window.SetWindow()
    for number in order:
        assert number < done.low + 64
        done.mark(number)
    assert done.low == 5_000
    assert window.stuck_order(4) == [1, 2, 3, 0]
