"""Records are read column by column where they are alike, and that is seen in nothing but the time."""

from __future__ import annotations

from operator import methodcaller
from types import SimpleNamespace

import pytest
from confluent_kafka import Message as Raw
from hypothesis import example, given
from hypothesis import strategies as st

from evermq.adapters.kafka import fetching
from evermq.adapters.kafka.fetching import decode
from evermq.adapters.kafka.records import CREATED, ID, NULL_BODY, UNREAD, Header, message_of

Headers = list[Header] | None
NAMES = [ID, "evermq-seq", "trace", CREATED, NULL_BODY]
VALUES = st.sampled_from([None, b"", b"a-1", b"17", b"\0", b"a\0b", b"\xff", "ü".encode()])
ONE: list[Header] = [(ID, b"a-1"), ("trace", b"x")]


def raw(headers: Headers, at: int, *, body: bytes | None = b"body", key: bytes | None = b"k") -> Raw:
    return Raw(topic="t", partition=at % 2, offset=at, key=key, value=body, headers=headers, timestamp=(1, 1_700 + at))


def checked(records: list[Raw]) -> None:
    """Each message is what the record alone would give."""
    rows = decode("t", records).rows
    expected: dict[int, list[object]] = {}
    for each in records:
        place = ("t", each.partition(), each.offset())
        message = message_of(each.key(), each.value(), each.headers(), each.timestamp()[1], place)
        expected.setdefault(place[1], []).append((place[2], message))
    assert rows == expected


@given(st.lists(st.none() | st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4), max_size=4))
@example([ONE, ONE])
@example([ONE, ONE[::-1]])
@example([ONE, ONE[:1]])
@example([ONE[1:], ONE[1:]])
@example([[*ONE, ("trace", b"y")]] * 2)
@example([[(ID, b""), ("trace", b"x")]] * 2)
@example([[(ID, b"a"), ("trace", b"")]] * 2)
@example([[(ID, b"a"), ("trace", b"x\0y")], [(ID, b"a"), ("trace", b"")]])
@example([[(ID, b"a"), ("trace", b"\xff")]] * 2)
@example([[(ID, b"a"), (CREATED, b"17")]] * 2)
@example([[(ID, b"a"), (NULL_BODY, b"1")]] * 2)
@example([None, ONE])
def test_records_with_any_headers(headers: list[Headers]) -> None:
    checked([raw(each, at) for at, each in enumerate(headers)])


@given(st.lists(st.sampled_from([None, b"", b"body"]), max_size=4), st.sampled_from([None, b"", b"k"]))
def test_records_with_any_body_and_key(bodies: list[bytes | None], key: bytes | None) -> None:
    checked([raw(ONE, at, body=body, key=key) for at, body in enumerate(bodies)])


def test_messages_do_not_share_their_headers() -> None:
    (_, one), (_, other) = decode("t", [raw(ONE, 0), raw(ONE, 2)]).rows[0]
    assert one.headers == other.headers
    assert one.headers is not other.headers


class Unreadable(Raw):  # type: ignore[misc]
    """The driver's, with a name in its headers that is not UTF-8."""

    asked = 0

    def headers(self) -> None:
        self.asked += 1
        raise SystemError("a result with an exception set")


def test_record_whose_headers_cannot_be_read_is_handed_out_without_and_asked_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [Unreadable(topic="t", partition=0, offset=at, key=b"k", value=b"v", timestamp=(1, 1)) for at in (4, 8)]
    monkeypatch.setattr(fetching, "Raw", SimpleNamespace(**{n: methodcaller(n) for n in dir(Raw) if n[0] != "_"}))
    records = [raw(ONE, 2), wrong[0], raw(ONE, 6), wrong[1]]
    rows = decode("t", records).rows[0]
    assert [offset for offset, _ in rows] == [2, 4, 6, 8]
    assert [message.id for _, message in rows] == ["a-1", "t/0/4", "a-1", "t/0/8"]
    assert [dict(message.headers) for _, message in rows] == [{"trace": "x"}, {UNREAD: "1"}] * 2
    assert [each.asked for each in wrong] == [1, 1]
    assert [text.split()[1] for text in caplog.messages] == ["t/0/4", "t/0/8"]
