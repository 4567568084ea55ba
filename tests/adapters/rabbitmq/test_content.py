"""Messages become AMQP's frames and come back; what others wrote is readable."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp import commands, frame
from pamqp.header import ContentHeader

from evermq.adapters.rabbitmq.content import attempt_of, frames_of, message_of, size_of
from evermq.errors import Rejected
from evermq.message import Message


def decoded(message: Message, body_bytes_max: int = 1 << 17) -> tuple[ContentHeader, bytes]:
    data = b"".join(frames_of(message, 7, body_bytes_max))
    header, body = None, b""
    while data:
        used, channel, found = frame.unmarshal(data)
        assert channel == 7
        if isinstance(found, ContentHeader):
            header = found
        else:
            body += found.value  # type: ignore[union-attr]
        data = data[used:]
    assert header is not None
    assert header.body_size == len(body)
    return header, body


@pytest.mark.parametrize(
    "message",
    [
        Message("id", None, b"", {}, 0),
        Message("id", b"", b"body", {"name": "value", "größe": "十", "empty": ""}, 1_700_000_000_123),
        Message("i" * 250, bytes(range(256)), bytes(range(256)), {"latin": "caf\udce9"}, 4_102_444_800_000),
        Message("größe-🙂" * 40, b"k", b"x" * 300_000, {}, 1),
    ],
    ids=lambda message: message.id[:10],
)
def test_message_comes_back_as_it_was(message: Message) -> None:
    assert message_of(*decoded(message), ("t", 0)) == message


def test_message_is_persistent_and_named_for_others() -> None:
    header, _ = decoded(Message("abc", b"k", b"body", {}, 1_700_000_000_123))
    assert header.properties.delivery_mode == 2
    assert header.properties.message_id == "abc"
    assert header.properties.timestamp == datetime.fromtimestamp(1_700_000_000, UTC)


def test_message_of_another_program_is_readable() -> None:
    properties = commands.Basic.Properties(
        headers={"n": 7, "yes": True, "list": [1, "a"], "raw": bytearray(b"\xff"), "none": None},
        content_type="text/plain",
        timestamp=datetime.fromtimestamp(1_700_000_000, UTC),
    )
    found = message_of(ContentHeader(properties=properties), b"hello", ("orders", 3, 1, 5))
    assert (found.id, found.key, found.body) == ("orders/3/1/5", None, b"hello")
    assert found.created_ms == 1_700_000_000_000
    expected = {"n": "7", "yes": "true", "list": '[1, "a"]', "raw": "\udcff", "none": ""}
    assert found.headers == expected | {"amqp-content-type": "text/plain"}


def test_attempt_is_the_delivery_count() -> None:
    header = ContentHeader(properties=commands.Basic.Properties(headers={"x-delivery-count": 4}))
    assert attempt_of(header, True) == 5
    assert attempt_of(ContentHeader(), False) == 1
    assert attempt_of(ContentHeader(), True) == 2


WRONG: list[tuple[Any, str]] = [
    (("a", None, "text", {}, 0), "body"),
    (("a", "key", b"", {}, 0), "key"),
    (("a", None, b"", {"n": 1}, 0), "header 'n'"),
    (("a", None, b"", {"n" * 256: ""}, 0), "the name of header"),
    ((7, None, b"", {}, 0), "its id"),
    ((None, None, b"", {}, 0), "its id"),
    (("", None, b"", {}, 0), "its id"),
    (("a", None, b"", {}, 1 << 70), "created_ms"),
    (("a", None, b"", {}, 1.5), "created_ms"),
    (("a", None, b"", None, 0), "headers"),
    (("a", None, b"", {"n": "\udcc3\udca9"}, 0), "n, .*decode"),
    (("a", None, b"", {"n": "\ud800"}, 0), "header 'n'"),
    (("a", None, b"", {"\ud800": ""}, 0), "header .* text"),
    (("a\ud800", None, b"", {}, 0), "its id"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG, ids=repr)
def test_what_is_no_message_is_rejected_with_its_field(wrong: Any, field: str) -> None:
    with pytest.raises(Rejected, match=field):
        size_of(Message(*wrong))


def test_header_name_that_is_not_utf_8_is_rejected() -> None:
    with pytest.raises(Rejected, match="not UTF-8"):
        frames_of(Message("a", None, b"", {"\udcff": ""}, 0), 1, 1000)
