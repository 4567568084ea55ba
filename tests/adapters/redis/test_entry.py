"""Entries say what they hold, to us and to others."""

from __future__ import annotations

import msgspec
import pytest

from evermq.adapters.redis.appending import assemble
from evermq.adapters.redis.entry import appended_ms, count_of, decode, encode
from evermq.adapters.redis.lane import lanes_of
from evermq.adapters.redis.options import RedisOptions
from evermq.errors import Damaged, Rejected
from evermq.message import Message, MessageFactory


def test_entry_is_a_head_and_msgpack_columns_that_anybody_reads() -> None:
    make = MessageFactory()
    messages = [make("a", key="k", id="1"), make("b", headers={"h": "v"}, id="2")]
    entry = encode(messages, 77)
    assert (count_of(entry), appended_ms(entry)) == (2, 77)
    ids, keys, bodies, headers, _ = msgspec.msgpack.decode(entry[13:])
    assert (ids, keys, bodies, headers) == (["1", "2"], [b"k", None], [b"a", b"b"], [{}, {"h": "v"}])
    assert decode(entry) == messages


@pytest.mark.parametrize(
    "entry", [b"", b"\x02", b"plain text of somebody else", encode([Message("1", None, b"x", {}, 0)], 1)[:-2]]
)
def test_what_is_no_entry_is_damaged(entry: bytes) -> None:
    with pytest.raises(Damaged):
        decode(entry)


def test_time_that_is_no_number_is_rejected() -> None:
    with pytest.raises(Rejected):
        encode([Message("1", None, b"x", {}, 1 << 80)], 1)


def test_escaped_bytes_that_would_read_back_as_another_text_are_rejected() -> None:
    assert decode(encode([Message("1", None, b"x", {"h": "\udcff"}, 0)], 1))[0].headers == {"h": "\udcff"}
    with pytest.raises(Rejected, match="UTF-8"):
        encode([Message("1", None, b"x", {"h": "\udcc3\udca9"}, 0)], 1)


HALF = "\ud800"  # of a character of UTF-16


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Message("m1", None, "text", {}, 1), "body"),  # type: ignore[arg-type]
        (Message("m1", "key", b"", {}, 1), "key"),  # type: ignore[arg-type]
        (Message("m1", None, b"", {"n": 1}, 1), "header 'n'"),  # type: ignore[dict-item]
        (Message("m1", None, b"", {"n": HALF}, 1), "header 'n'"),
        (Message("m1", None, b"", None, 1), "headers"),  # type: ignore[arg-type]
        (Message("m1", None, b"", ["n"], 1), "headers"),  # type: ignore[arg-type]
        (Message(b"m1", None, b"", {}, 1), "id"),  # type: ignore[arg-type]
        (Message("m1" + HALF, None, b"", {}, 1), "id"),
        (Message("m1", None, b"", {}, 1 << 64), "created_ms"),
    ],
)
def test_what_is_no_message_is_refused_by_name(wrong: Message, field: str) -> None:
    with pytest.raises(Rejected, match=rf"message .*m1.*{field}"):
        assemble([Message("m0", None, b"", {}, 1), wrong], 0, lanes_of("t", 1, 1), RedisOptions(), 0)
