"""What was handed out of a lane, against a plain set."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from evermq.adapters.log.outstanding import Outstanding

RUNS = st.tuples(st.just("run"), st.integers(0, 2), st.integers(0, 6))
TAKES = st.tuples(st.just("take"), st.integers(-1, 40), st.integers(0, 8))
LISTS = st.tuples(st.just("list"), st.lists(st.integers(-1, 40), max_size=6), st.none())
RETURNS = st.tuples(st.just("return"), st.lists(st.integers(0, 40), max_size=3), st.none())


@settings(max_examples=400, deadline=None)
@given(st.lists(RUNS | TAKES | LISTS | RETURNS, max_size=25))
def test_outstanding_offsets_are_a_set(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    outstanding, model, end = Outstanding(), set[int](), 0
    for verb, what, size in steps:
        if verb == "run":
            run = range(end + what, end + what + size)
            outstanding.add_run(run)
            model.update(run)
            end = max(end, run.stop)
        elif verb == "return":
            again = [offset for offset in what if offset < end and offset not in model]
            outstanding.update(again)
            model.update(again)
        else:
            wanted = what if verb == "list" else range(what, what + size)
            assert set(outstanding.take(wanted)) == model.intersection(wanted)
            model.difference_update(wanted)
        assert sorted(outstanding) == sorted(model)
        assert len(outstanding) == len(model)
        assert all((offset in outstanding) == (offset in model) for offset in range(-1, end + 2))


def test_who_settles_in_order_is_not_looked_at_offset_by_offset() -> None:
    outstanding = Outstanding()
    outstanding.add_run(range(500))
    outstanding.add_run(range(500, 1 << 40))  # as a set it would be beyond any memory
    assert outstanding.take(range(250)) == range(250)
    assert outstanding.take(range(250, 1 << 39)) == range(250, 1 << 39)
    assert len(outstanding) == (1 << 40) - (1 << 39)
