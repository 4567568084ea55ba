"""The sliding window against a plain set of numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from evermq.errors import Overloaded
from evermq.watermark import Watermark

COUNT_MAX = 200
NEAR = st.integers(-5, COUNT_MAX + 20)


class WatermarkMachine(RuleBasedStateMachine):
    """Marks in any order, singly and in ranges, within bounds and beyond."""

    @initialize(start=st.integers(0, 10_000))
    def begin(self, start: int) -> None:
        self.window = Watermark(start, count_max=COUNT_MAX)
        self.start = start
        self.done: set[int] = set()

    @property
    def low(self) -> int:
        low = self.start
        while low in self.done:
            low += 1
        return low

    def mark_all(self, numbers: range) -> None:
        """The model's way: everything, or Overloaded and nothing."""
        self.done.update(number for number in numbers if number >= self.start)

    @rule(distance=NEAR)
    def mark(self, distance: int) -> None:
        number = self.low + distance
        if distance >= COUNT_MAX:
            with pytest.raises(Overloaded):
                self.window.mark(number)
        else:
            self.window.mark(number)
            self.mark_all(range(number, number + 1))

    @rule(distance=NEAR, length=st.integers(-2, COUNT_MAX))
    def mark_range(self, distance: int, length: int) -> None:
        start = self.low + distance
        stop = start + length
        if stop > max(start, self.low) and stop - self.low > COUNT_MAX:
            with pytest.raises(Overloaded):
                self.window.mark_range(start, stop)
        else:
            self.window.mark_range(start, stop)
            self.mark_all(range(start, stop))

    @rule(distances=st.lists(st.integers(-5, COUNT_MAX - 1), max_size=8))
    def mark_many(self, distances: list[int]) -> None:
        numbers = sorted(self.low + distance for distance in distances)
        self.window.mark_many(numbers)
        for number in numbers:
            self.mark_all(range(number, number + 1))

    @rule()
    def restore(self) -> None:
        """What `low` and `done_ranges` say is all there is to know."""
        again = Watermark(self.window.low, count_max=COUNT_MAX)
        for start, stop in self.window.done_ranges():
            again.mark_range(start, stop)
        self.window = again

    @invariant()
    def tells_what_the_model_tells(self) -> None:
        if hasattr(self, "window"):
            low = self.low
            assert self.window.low == low
            near = range(low - 3, low + COUNT_MAX + 3)
            assert [n for n in near if self.window.done(n)] == [n for n in near if n < low or n in self.done]
            ranges = list(self.window.done_ranges())
            beyond = {number for number in self.done if number > low}
            assert {n for start, stop in ranges for n in range(start, stop)} == beyond
            assert all(stop < start for (_, stop), (start, _) in pairwise(ranges))


def test_limit_that_is_no_power_of_two_holds_once_the_ring_has_grown() -> None:
    window = Watermark(count_max=COUNT_MAX)
    window.mark(128)
    with pytest.raises(Overloaded):
        window.mark(COUNT_MAX)
    with pytest.raises(Overloaded):
        window.mark_range(190, COUNT_MAX + 1)


WatermarkMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWatermark = WatermarkMachine.TestCase
