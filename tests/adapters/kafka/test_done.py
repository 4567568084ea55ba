"""Ranges of what is done against a plain set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evermq.adapters.kafka.done import Done

START = 1_000
NUMBERS = st.integers(START - 5, START + 60)
ACTS = st.lists(st.tuples(NUMBERS, st.integers(-2, 20)) | st.lists(NUMBERS, max_size=12), max_size=40)


@given(ACTS, st.sampled_from([1, 2, 7, 16, 1_000]))
def test_as_a_set(acts: list[tuple[int, int] | list[int]], near: int) -> None:
    done, model = Done(START, near), {*range(START)}
    for act in acts:
        if isinstance(act, tuple):
            start, length = act
            done.mark_range(start, start + length)
            model.update(range(start, start + length))
        else:
            done.mark_many(act)
            model.update(act)
        low = next(number for number in range(START, START + 200) if number not in model)
        assert done.low == low
        assert [number for number in range(START - 9, START + 90) if number not in model] == [
            number for number in range(START - 9, START + 90) if not done.is_done(number)
        ]
        ranges = done.ranges()
        assert {number for start, stop in ranges for number in range(start, stop)} == {n for n in model if n > low}
        bounds = [low, *(bound for each in ranges for bound in each)]
        assert bounds == sorted({*bounds})  # neither empty ones nor such as touch
