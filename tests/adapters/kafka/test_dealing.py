"""What cannot be a record is refused with the message and the field, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from evermq.adapters.kafka.dealing import check
from evermq.batch import Batch
from evermq.errors import Rejected, TooLarge
from evermq.message import Message

NOW_MS, BYTES_MAX = 1_700_000_000_000, 1_000
RIGHT = Message("right", None, b"", {}, NOW_MS)
WRONG: list[tuple[Any, str]] = [
    ((7, None, b"", {}, NOW_MS), "message 7: its id"),
    ((None, None, b"", {}, NOW_MS), "message None: its id"),
    (("", None, b"", {}, NOW_MS), "message '': its id .*not empty"),
    (("a\ud800", None, b"", {}, NOW_MS), "its id has half a surrogate pair"),
    (("a", None, "text", {}, NOW_MS), "message a: body"),
    (("a", "key", b"", {}, NOW_MS), "message a: key"),
    (("a", None, b"", {}, 1.5), "message a: created_ms is 1.5"),
    (("a", None, b"", {}, None), "message a: created_ms"),
    (("a", None, b"", None, NOW_MS), "message a: headers are None"),
    (("a", None, b"", [("n", "x")], NOW_MS), "message a: headers"),
    (("a", None, b"x" * 900, None, NOW_MS), "message a: headers are None"),
    (("a", None, b"", {"n": 1}, NOW_MS), "message a: header 'n' is not text"),
    (("a", None, b"", {"n": "\ud800"}, NOW_MS), "message a: header 'n' has half a surrogate pair"),
    (("a", None, b"x" * 900, {"n": "\ud800" * 300}, NOW_MS), "message a: header 'n' has half"),
    (("a", None, b"", {"n": "\udcc3\udca9"}, NOW_MS), "message a: header 'n' would not read back"),
    (("\udcc3\udca9", None, b"", {}, NOW_MS), "its id would not read back"),
    (("a", None, b"", {"\ud800": ""}, NOW_MS), "message a: the name of a header"),
    (("a", None, b"", {"n\0m": ""}, NOW_MS), "message a: the name of a header, .* has a NUL"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=repr)
def test_what_is_no_record_is_rejected_with_message_and_field(wrong: Any, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        check(Batch.of([RIGHT, Message(*wrong), RIGHT]), BYTES_MAX, NOW_MS)


@pytest.mark.parametrize(
    "headers",
    [{}, {"n": "größe"}, {"größe": ""}, {"latin": "caf\udce9", "nul": "a\0b"}, {"n": "\udcc3", "m": "\udca9"}],
    ids=repr,
)
def test_what_is_a_record_passes(headers: dict[str, str]) -> None:
    check(Batch.of([RIGHT, Message("größe-caf\udce9", b"k", b"x", headers, NOW_MS)]), BYTES_MAX, NOW_MS)


def test_headers_count_against_the_limit() -> None:
    with pytest.raises(TooLarge, match="message a"):
        check(Batch.of([RIGHT, Message("a", None, b"x" * 400, {"n": "v" * 601}, NOW_MS)]), BYTES_MAX, NOW_MS)
