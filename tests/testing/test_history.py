"""Histories survive a kill in the middle of a line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermq.errors import Damaged
from evermq.testing.history import Event, Recorder, load, merge


def test_cut_line_is_left_out_and_does_not_spoil_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    first = Recorder(path)
    first.record([Event(1, "send_ok", id="a")])
    first.close()
    with path.open("ab") as file:
        file.write(b'{"t":2,"ev":"se')
    assert [event.id for event in load([path])] == ["a"]
    second = Recorder(path)
    second.record([Event(3, "send_ok", id="b")])
    second.close()
    assert [event.id for event in load([path])] == ["a", "b"]


def test_malformed_line_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"t":1,"ev":"ack"}\nnonsense\n')
    with pytest.raises(Damaged, match=r"history\.jsonl:2"):
        load([path])


def test_events_of_one_process_keep_their_order_whatever_its_clock_says() -> None:
    events = [Event(5, "deliver", id=str(number)) for number in range(9, 0, -1)]
    assert merge([events]) == events
    back = [Event(5, "deliver", id="a"), Event(4, "handler_ok", id="a")]
    assert merge([back]) == back


def test_message_is_sent_before_it_is_delivered_though_the_clocks_are_coarse() -> None:
    consumer = [Event(7, "deliver", id="a", proc="c"), Event(7, "handler_ok", id="a", proc="c")]
    producer = [
        Event(7, "send_ok", id="z", proc="p"),
        Event(8, "send_invoke", id="a", proc="p"),
        Event(9, "send_ok", id="a"),
    ]
    order = [(event.ev, event.id) for event in merge([consumer, producer])]
    assert order == [("send_ok", "z"), ("send_invoke", "a"), ("deliver", "a"), ("handler_ok", "a"), ("send_ok", "a")]


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.booleans()), max_size=8), max_size=4))
def test_merged_order_is_total_and_keeps_that_of_every_process(drawn: list[list[tuple[int, str, bool]]]) -> None:
    histories = [
        [
            Event(t, "send_invoke" if sends else "deliver", id=id, proc=f"{i}", kseq=j)
            for j, (t, id, sends) in enumerate(each)
        ]
        for i, each in enumerate(drawn)
    ]
    merged = merge(histories)
    assert [[event for event in merged if event.proc == f"{i}"] for i in range(len(histories))] == histories
    assert merge(histories) == merged
