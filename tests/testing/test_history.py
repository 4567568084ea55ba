"""Histories survive a kill in the middle of a line."""

from pathlib import Path

import pytest

from evermq.errors import Damaged
from evermq.testing.history import Event, Recorder, load


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
