"""When a return waits for the backlog below, and when it does not."""

from evermq.ha.drained import Drained


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
