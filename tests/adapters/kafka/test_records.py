"""What a foreign record has in its headers is there, and is written back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermq.adapters.kafka.records import ID, Header, message_of, record_of

LISTED = "evermq-kafka-headers"
NAMES = st.sampled_from(["a", "b", "größe", ""])
VALUES = st.none() | st.binary(max_size=4) | st.sampled_from([b"caf\xe9", "é".encode(), b"\xed\xb3\xa9", b"\0"])
ODD: list[Header] = [("a", b"1"), ("b", None), ("a", b"2")]


def read(headers: list[Header]) -> dict[str, str]:
    return dict(message_of(None, b"", headers, 1, ("t", 0, 7)).headers)


def written(headers: dict[str, str]) -> list[Header]:
    message = message_of(None, b"", [], 1, ("t", 0, 7))._replace(headers=headers)
    return [each for each in record_of(message)[3] if each[0] != ID]


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_headers_are_written_back_as_they_were(headers: list[Header]) -> None:
    assert written(read(headers)) == headers


def test_headers_that_a_mapping_holds_stand_there_alone() -> None:
    assert read([("a", b"1"), ("b", b"")]) == {"a": "1", "b": ""}


def test_what_was_changed_meanwhile_is_written_as_it_is_now() -> None:
    headers = read(ODD)
    assert (headers["a"], headers["b"]) == ("2", "")
    assert written({**headers, "evermq-hops": "1"}) == [*ODD, ("evermq-hops", b"1")]
    assert written({**headers, "a": "3", "b": "x"}) == [("a", b"1"), ("b", b"x"), ("a", b"3")]
    assert written({LISTED: headers[LISTED], "b": ""}) == [("b", None)]


@pytest.mark.parametrize(
    "listed", ["", "no list", "7", "[7]", '[["a", 7]]', '[["a"]]', '[["a", "\\ud800"]]', "[" * 99_999]
)
def test_list_that_evermq_did_not_write_counts_for_nothing(listed: str) -> None:
    assert written({"a": "1", LISTED: listed}) == [("a", b"1")]
