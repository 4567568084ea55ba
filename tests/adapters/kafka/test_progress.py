"""What stands beside a committed offset comes out as it went in, and never says more than it did."""

from hypothesis import given
from hypothesis import strategies as st

from evermq.adapters.kafka.progress import Again, is_of_another_topic, pack, unpack, untold_count

LOW = 1_000


@st.composite
def ranges(draw: st.DrawFn) -> list[tuple[int, int]]:
    at, found = LOW, []
    for gap, length in draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=600)):
        found.append((at + gap, at + gap + length))
        at += gap + length
    return found


@st.composite
def agains(draw: st.DrawFn) -> list[Again]:
    rest = st.tuples(st.integers(1, 9), st.sampled_from([0, 1_795_575_315_284]))
    return [Again(start, stop, *draw(rest)) for start, stop in draw(ranges())]


@given(ranges(), agains())
def test_packed_is_of_what_there_was(done: list[tuple[int, int]], again: list[Again]) -> None:
    text = pack("id", LOW, done, again, bytes_max=4_096)
    found = unpack("id", LOW, text)
    assert len(text) <= 4_096
    assert found.done == sorted({*found.done} & {*done})
    assert found.again == again[: len(found.again)]
    if len(done) <= 100 and len(again) <= 50:
        assert (found.done, found.again) == (done, again)


@given(ranges(), agains(), st.integers(0, 4_096))
def test_small_limit_is_kept(done: list[tuple[int, int]], again: list[Again], bytes_max: int) -> None:
    text = pack("id", LOW, done, again, bytes_max=bytes_max)
    assert len(text) <= max(bytes_max, 16)
    assert {*unpack("id", LOW, text).done} <= {*done}


@given(ranges(), agains(), st.integers(0, 4_096))
def test_longest_ranges_are_told_first(done: list[tuple[int, int]], again: list[Again], bytes_max: int) -> None:
    found = unpack("id", LOW, pack("id", LOW, done, again, bytes_max=bytes_max)).done
    left_out = [stop - start for start, stop in {*done} - {*found}]
    assert sum(left_out) <= untold_count(LOW, done, bytes_max=bytes_max)
    assert max(left_out, default=0) <= min((stop - start for start, stop in found), default=300)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: "e1:" + raw.hex()))
def test_text_of_others_is_ignored(text: str) -> None:
    found = unpack("id", LOW, text)
    assert all(LOW <= start < stop for start, stop in found.done)


def test_word_of_an_earlier_topic_is_not_believed() -> None:
    text = pack("old", LOW, [(1_005, 1_010)], [], bytes_max=4_096)
    assert is_of_another_topic("new", text)
    assert not is_of_another_topic("old", text)
    assert not is_of_another_topic("old", "")
    assert unpack("new", LOW, text) == ([], [])
