"""Entries of a list: several messages of one lane in one value, as columns.

    u8 format (1) | u32 count | u64 appended_ms | msgpack array: ids, keys or nil, bodies, headers or nil, created_ms

Little endian. Texts are str where they are UTF-8, else binary by surrogateescape. `redis-cli` and any msgpack decoder
read it; scripts read the first five bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any

import msgspec

from evermq.batch import Columns
from evermq.errors import Damaged, Rejected
from evermq.fields import NOT_A_MESSAGE, refusal
from evermq.message import NO_HEADERS, Message

__all__ = ["appended_ms", "count_of", "decode", "encode", "sizes"]

HEAD = struct.Struct("<BIQ")
_FORMAT = 1
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_new_message = partial(tuple.__new__, Message)


def sizes(messages: Sequence[Message]) -> list[int]:
    """Bytes of body, key and headers of each message. Raises Rejected for what is no message."""
    try:
        found = list(map(len, [message[2] for message in messages]))
        if {type(message[2]) for message in messages} - {bytes} or {type(m[1]) for m in messages} - {bytes, type(None)}:
            raise refusal(messages, "body and key are to be bytes")
        for row, message in enumerate(messages):
            if message[1]:
                found[row] += len(message[1])
            if message[3]:
                found[row] += sum(len(_raw(text)) for item in message[3].items() for text in item)
    except NOT_A_MESSAGE as error:
        raise refusal(messages, error) from error
    return found


def encode(messages: Sequence[Message], now_ms: int) -> bytes:
    """One entry. Raises Rejected for what is no message."""
    ids, keys, bodies, headers, created = Columns.of(messages)
    some_keys = keys if keys.count(None) != len(keys) else None
    try:
        some_headers = None if headers.count(NO_HEADERS) == len(headers) else [dict(each) for each in headers]
        "".join(ids)  # TypeError for what is not text
        columns = _columns(ids, some_keys, bodies, some_headers, created)
    except (TypeError, OverflowError, UnicodeEncodeError) as error:
        raise refusal(messages, error) from error
    return HEAD.pack(_FORMAT, len(ids), max(0, now_ms)) + columns


def _columns(ids: Any, keys: Any, bodies: Any, headers: Any, created: Any) -> bytes:
    try:
        return _pack((ids, keys, bodies, headers, created))
    except UnicodeEncodeError:
        raw_ids = list(map(_escaped, ids))
        raw = headers and [{_escaped(k): _escaped(v) for k, v in each.items()} for each in headers]
        return _pack((raw_ids, keys, bodies, raw, created))


def decode(entry: bytes) -> list[Message]:
    """The messages of an entry. Raises Damaged."""
    try:
        if entry[0] != _FORMAT:
            raise ValueError(f"its format is {entry[0]}, not {_FORMAT}")
        ids, keys, bodies, headers, created = _unpack(memoryview(entry)[HEAD.size :])
        if bytes in set(map(type, ids)):
            ids = list(map(_text, ids))
        some_headers = _headers(headers) if headers else repeat(NO_HEADERS)
        return list(map(_new_message, zip(ids, keys or repeat(None), bodies, some_headers, created, strict=False)))
    except (ValueError, TypeError, IndexError, struct.error, msgspec.DecodeError) as error:
        raise Damaged(f"an entry of {len(entry)} bytes cannot be decoded: {error}") from error


def count_of(entry: bytes) -> int:
    """How many messages it holds."""
    return int(HEAD.unpack_from(entry)[1])


def appended_ms(head: bytes) -> int:
    """When it was appended, by the clock of who did it; the head of the entry is enough."""
    return int(HEAD.unpack_from(head)[2])


def _headers(column: list[dict[Any, Any]]) -> list[Mapping[str, str]]:
    if all(type(text) is str for text in chain.from_iterable(chain.from_iterable(map(dict.items, column)))):
        return [each or NO_HEADERS for each in column]
    return [{_text(k): _text(v) for k, v in each.items()} if each else NO_HEADERS for each in column]


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _escaped(text: str) -> bytes:
    """Raises Rejected for escaped bytes that together are UTF-8: they would read back as another text."""
    raw = _raw(text)
    if raw.decode("utf-8", "surrogateescape") != text:
        raise Rejected(f"{text!r} cannot be stored: its escaped bytes together are UTF-8, so give it as plain text")
    return raw


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
