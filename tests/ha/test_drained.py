"""When a return waits for the backlog below, and when it does not."""

from evermq.ha.drained import Below, Drained


def test_return_waits_while_a_backlog_shrinks_and_not_when_little_is_left() -> None:
    gate = Drained()
    for second, backlog in enumerate((50_000, 30_000, 10_000, 1_001)):
        assert not gate.saw({"a": backlog, "b": 0}, second * 8_000)
    assert gate.saw({"a": 1_000, "b": 0}, 32_000)


def test_group_that_nobody_reads_is_not_waited_for() -> None:
    gate = Drained()
    assert not gate.saw({"idle": 5_000}, 0)
    assert not gate.saw({"idle": 5_500}, 9_999)
    assert gate.saw({"idle": 6_000}, 10_000)
    assert not gate.saw({"idle": 4_000}, 11_000)  # somebody reads it after all
    assert not gate.saw({"idle": 4_000, "live": 9_000}, 21_000)


def test_each_return_waits_anew() -> None:
    gate = Drained()
    gate.saw({"idle": 5_000}, 0)
    assert gate.saw({"idle": 5_000}, 20_000)
    gate.reset()
    assert not gate.saw({"idle": 5_000}, 20_001)


def test_rung_waits_for_what_is_below_it_and_for_nothing_else() -> None:
    below = Below(["primary", "standby", "second"], little=1_000, patience_ms=10_000)
    deep, away = {"g": 500_000}, {"primary", "standby"}
    assert below.saw(away, {"standby": deep, "second": {"g": 0}}, 0) == {"primary"}
    assert below.saw(away, {"standby": {"g": 0}, "second": {"g": 400_000}}, 1_000) == {"primary", "standby"}
    assert below.saw({"standby"}, {"standby": deep, "second": {"g": 900}}, 2_000) == frozenset()


def test_rung_that_does_not_say_what_it_holds_counts_with_what_it_said_last_for_a_while() -> None:
    below = Below(["primary", "standby"], little=1_000, patience_ms=10_000)
    assert below.saw({"primary"}, {"standby": {"g": 500_000}}, 0)
    assert below.saw({"primary"}, {}, 9_000)
    assert below.saw({"primary"}, {"standby": {"g": 400_000}}, 9_500)
    assert below.saw({"primary"}, {}, 19_000)
    assert not below.saw({"primary"}, {}, 19_500)
    assert not Below(["primary", "standby"], 1_000, 10_000).saw({"primary"}, {}, 0)  # it may be gone for good
