"""Messages as RocketMQ has them: within its limits on the wire, and the same when they come back."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermq.adapters.rocketmq.content import BODY_BYTES_MAX, fill, message_of, size_of
from evermq.adapters.rocketmq.protocol import service
from evermq.errors import Rejected, TooLarge
from evermq.message import Message

text = st.text(max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
names = text | st.sampled_from(["KEYS", "TAGS", "__SHARDINGKEY", "X", "x", "trace-id", ""])


def wire(message: Message) -> object:
    found = service.SendMessageRequest().messages.add()
    fill(found, message)
    return service.SendMessageRequest.FromString(service.SendMessageRequest(messages=[found]).SerializeToString())


@given(
    id=text.filter(bool),
    key=st.none() | st.binary(max_size=40) | st.just(b"customer-7"),
    body=st.binary(max_size=99),
    headers=st.dictionaries(names.filter(lambda n: not n.startswith("evermq-")), text, max_size=9),
    created_ms=st.integers(0, 1 << 62),
)
def test_message_comes_back_as_it_was(
    id: str, key: bytes | None, body: bytes, headers: dict[str, str], created_ms: int
) -> None:
    message = Message(id, key, body, headers, created_ms)
    [sent] = wire(message).messages  # type: ignore[attr-defined]
    assert message_of(sent) == message
    assert sent.body
    for name, value in sent.user_properties.items():
        assert (name + value).isprintable()
        assert value
    assert "KEYS" not in sent.user_properties


def test_many_and_long_headers_stay_within_the_limits_of_properties() -> None:
    headers = {f"h{i}": "v" * i for i in range(1, 200)} | {"long": "v" * 20_000}
    [sent] = wire(Message("1", None, b"body", headers, 1)).messages  # type: ignore[attr-defined]
    assert len(sent.user_properties) <= 128
    assert sum(len(name) + len(value) for name, value in sent.user_properties.items()) < 16_000
    assert message_of(sent).headers == headers
    assert message_of(sent).body == b"body"


def test_plain_message_is_plain_for_other_programs() -> None:
    [sent] = wire(Message("a-1", b"customer-7", b"text", {"trace": "t1"}, 5)).messages  # type: ignore[attr-defined]
    assert sent.body == b"text"
    assert sent.system_properties.message_id == "a-1"
    assert dict(sent.user_properties) == {"evermq-key": "customer-7", "evermq-created-ms": "5", "trace": "t1"}


def test_message_of_another_program_is_read() -> None:
    foreign = service.SendMessageRequest().messages.add()
    foreign.body = b"hello"
    foreign.user_properties["n"] = "7"
    system = foreign.system_properties
    system.message_id, system.tag, system.message_group = "F1", "blue", "g"
    system.keys.extend(["k1", "k2"])
    system.born_timestamp.FromMilliseconds(1_234)
    found = message_of(foreign)
    assert found == Message("F1", b"g", b"hello", {"n": "7", "rocketmq-tag": "blue", "rocketmq-keys": "k1 k2"}, 1_234)


def foreign(body: bytes, properties: dict[str, str]) -> Any:
    found = service.SendMessageRequest().messages.add(body=body)
    found.system_properties.message_id = "F1"
    found.system_properties.born_timestamp.FromMilliseconds(7)
    found.user_properties.update(properties)
    return found


@pytest.mark.parametrize(
    "wrong",
    [
        {"evermq-created-ms": "1764366307000.5"},
        {"evermq-created-ms": "soon"},
        {"evermq-created-ms": ""},
        {"evermq-created-ms": "9" * 5_000},
        {"evermq-created-ms": "1", "evermq-head": "5000"},
        {"evermq-created-ms": "1", "evermq-head": "-2"},
        {"evermq-created-ms": "1", "evermq-head": "3"},
        {"evermq-created-ms": "1", "evermq-head": ""},
        {"evermq-created-ms": "1", "evermq-more": "[" * 100_000},
        {"evermq-created-ms": "1", "evermq-more": "no JSON"},
        {"evermq-created-ms": "1", "evermq-more": "[1]"},
        {"evermq-created-ms": "1", "evermq-more": '{"id": 7}'},
        {"evermq-created-ms": "1", "evermq-more": '{"key": "no hex"}'},
        {"evermq-created-ms": "1", "evermq-more": '{"key": 7}'},
        {"evermq-created-ms": "1", "evermq-more": '{"headers": [1]}'},
        {"evermq-created-ms": "1", "evermq-more": '{"headers": {"a": 1}}'},
        {"evermq-head": "3", "evermq-more": "no JSON"},
    ],
    ids=lambda wrong: str(wrong)[:60],
)
def test_what_evermq_would_not_have_written_is_read_as_it_stands(wrong: dict[str, str]) -> None:
    assert message_of(foreign(b"hello", wrong)) == Message("F1", None, b"hello", wrong, 7)


@given(
    body=st.binary(max_size=20),
    properties=st.dictionaries(
        st.sampled_from(["evermq-key", "evermq-created-ms", "evermq-more", "evermq-head", "x"]),
        st.text(max_size=9) | st.integers().map(str) | st.sampled_from(["{}", '{"id":{}}', "{", "1", "5"]),
    ),
)
def test_whatever_another_program_wrote_can_be_handed_out(body: bytes, properties: dict[str, str]) -> None:
    assert message_of(foreign(body, properties)).id == "F1"


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_body_that_another_program_had_compressed_is_read_as_it_gave_it(pack: Callable[[bytes], bytes]) -> None:
    wire = foreign(pack(b"a payment " * 300), {})
    wire.system_properties.body_encoding = 2
    assert message_of(wire) == Message("F1", None, b"a payment " * 300, {}, 7)


@pytest.mark.parametrize(
    ("body", "encoding", "name"),
    [
        (b"LZ4 is called so too", 2, "GZIP"),
        (zlib.compress(b"a" * 99)[:-5], 2, "GZIP"),
        (zlib.compress(b"a") + b"and more", 2, "GZIP"),
        (zlib.compress(bytes(65 << 20)), 2, "GZIP"),
        (b"of a later version", 9, "9"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_body_that_cannot_be_unpacked_is_handed_out_with_the_name_of_its_encoding(
    body: bytes, encoding: int, name: str
) -> None:
    wire = foreign(body, {})
    wire.system_properties.body_encoding = encoding
    assert message_of(wire) == Message("F1", None, body, {"rocketmq-encoding": name}, 7)


HALF = "\ud800"  # of a character of UTF-16


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Message("m1", None, "text", {}, 1), "body"),  # type: ignore[arg-type]
        (Message("m1", "key", b"", {}, 1), "key"),  # type: ignore[arg-type]
        (Message("m1", None, b"", {"n": 1}, 1), "header 'n'"),  # type: ignore[dict-item]
        (Message("m1", None, b"", {"n": HALF}, 1), "header 'n'"),
        (Message("m1", None, b"", {HALF: "x"}, 1), "header"),
        (Message("m1", None, b"", None, 1), "headers"),  # type: ignore[arg-type]
        (Message("m1", None, b"", ["n"], 1), "headers"),  # type: ignore[arg-type]
        (Message(b"m1", None, b"", {}, 1), "id"),  # type: ignore[arg-type]
        (Message("m1" + HALF, None, b"", {}, 1), "id"),
        (Message("m1", None, b"", {}, 1 << 63), "created_ms"),
        (Message("m1", None, b"", {}, 1.5), "created_ms"),  # type: ignore[arg-type]
        (Message("m1", None, b"", {}, None), "created_ms"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_message_is_refused_by_name(wrong: Message, field: str) -> None:
    with pytest.raises(Rejected, match=rf"message .*m1.*{field}"):
        size_of(wrong)


def test_message_that_grows_over_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge, match="maxMessageSize"):
        wire(Message("1", None, bytes(BODY_BYTES_MAX - 10), {"x": "\x01" * 5_000}, 1))


def test_official_client_does_not_run_with_the_adapter_and_can_be_imported_after_it(tmp_path: Path) -> None:
    script = """
import os, sys
home = os.environ["HOME"]
from evermq.adapters.rocketmq.protocol import service
assert "rocketmq" not in sys.modules and not os.listdir(home), os.listdir(home)
import rocketmq
from rocketmq.grpc_protocol import SendMessageRequest
assert SendMessageRequest is service.SendMessageRequest
"""
    home = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, env=home)
