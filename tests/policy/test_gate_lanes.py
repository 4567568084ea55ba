"""What a gate hands out, writes down and gives back of a lane that is lost, asked for, or full."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.policy.test_gate import LANE, STREAM, claimed, delivery

from evermq.policy.gate import ABSENT


@pytest.mark.parametrize("is_written", [False, True])
def test_copies_of_a_lane_that_was_lost_go_back_unless_what_makes_them_copies_is_written_down(is_written: bool) -> None:
    gate = claimed()
    gate.settle([each.receipt for each in gate.offer([delivery(2)], 0)])
    copy = delivery(2, rung="standby")
    assert gate.offer([copy], 0) == []
    [taken] = gate.take_drops()
    assert gate.offer([copy], 0) == []
    assert gate.lost(LANE, is_written=is_written) == ([] if is_written else [copy])
    assert taken.are_due is is_written
    assert [each.deliveries for each in gate.take_drops()] == ([[copy]] if is_written else [])


def test_what_was_handed_out_before_its_lane_was_lost_settles_nothing_in_it() -> None:
    """It is another reader's, or was meanwhile: what that one settled would be written over."""
    gate = claimed()
    lane = gate.lanes[LANE]
    [first] = gate.offer([delivery(2)], 0)
    lane.is_doubted = True
    assert [each.position.offset for each in gate.lost(LANE)] == [2]
    for is_claimed in (False, True):
        if is_claimed:
            gate.claimed(LANE, {})
        assert gate.settle([first.receipt]) == []
        assert gate.release([first.receipt]) == []
        gate.owe([first.receipt])
        assert gate.take_drops() == []
        assert (lane.out, lane.changed) == (0, set())
    assert not lane.is_doubted, "it would be given up at once, again and again"


def test_lane_that_another_reader_asks_for_hands_out_nothing_more() -> None:
    """Else it would never be quiet, and never go over."""
    gate = claimed()
    lane = gate.lanes[LANE]
    lane.is_closing = True
    assert gate.offer([delivery(2)], 0) == []
    assert gate.quiet() == {LANE}
    lane.is_closing = False
    [held] = gate.woken(lane)
    gate.release([held.receipt])
    assert lane.out == 0
    lane.is_closing = True
    assert gate.quiet() == {LANE}


def test_what_came_again_is_on_its_way_no_longer() -> None:
    gate = claimed()
    [first] = gate.offer([delivery(2)], 0)
    gate.release([first.receipt])
    assert [each.seq for each in gate.held(0)] == [2]
    gate.offer([delivery(2)], 0)
    assert gate.held(0) == []


def test_what_a_rung_hands_out_again_is_no_first_attempt() -> None:
    """It may be what ended another reader's process."""
    gate = claimed()
    again = delivery(2)
    [found] = gate.offer([replace(again, attempt=2)], 0)
    assert found.attempt == 2
    assert gate.is_ahead


def test_what_a_window_has_no_room_for_counts_as_held_while_it_is_on_its_way_back() -> None:
    gate = claimed()
    lane = gate.lanes[LANE]
    assert gate.offer([delivery(3), delivery(4), delivery(5)], 0) == []
    assert [each.number.seq for each in gate.overflow(lane, 1)] == [4, 5]
    assert {number for each in gate.held(0) for number in each.numbers} == {3, 4, 5}


def test_what_was_passed_over_is_written_down() -> None:
    """Else the next reader waits for it once more, and takes what comes late for a copy."""
    gate = claimed()
    lane = gate.lanes[LANE]
    lane.changed.clear()
    assert gate.offer([delivery(3)], 0) == []
    [parked] = lane.parked
    gate.pass_over(lane, parked, ABSENT)
    assert {stream.name for stream in lane.changed} == {STREAM}
