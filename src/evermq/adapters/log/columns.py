"""Messages as columns: a whole batch is transposed, joined and measured in a handful of calls into C.

Layout (little endian; docs/internals/log-format.md is the reference):

    u32 ids length | u32 keys length | u32 headers length | u32 flags
    i64 created_ms [count] | u32 body length [count]
    ids, joined by NUL, UTF-8 with surrogateescape
    i32 key length [count] (-1: no key), keys        only with flag KEYS
    headers, a msgpack array of maps                 only with flag HEADERS
    bodies
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from itertools import accumulate, chain, pairwise, repeat
from struct import Struct, pack
from typing import Any

import msgspec

from evermq.batch import Batch
from evermq.batch import Columns as BatchColumns
from evermq.errors import Damaged, Rejected
from evermq.message import NO_HEADERS, Message

__all__ = ["Columns", "decode", "encode", "encode_many", "encode_one", "transpose"]

_HEAD = Struct("<IIII")
_ONE = Struct("<IIIIqI")  # the head, and the columns of fixed size, of a single message
_KEY_LENGTH = Struct("<i")
_KEYS = 1
_HEADERS = 2
_JOIN_BYTES_MAX = 5000  # above this mean body length, copying costs more than another buffer in the write call
_FRESH_BYTES_MAX = 64 << 10  # more fresh memory costs more in page faults than to take what was used before
_NUL = "the id of a message contains NUL; take it out"

Columns = tuple[Sequence[str], Sequence[bytes | None], Sequence[bytes], Sequence[Mapping[str, str]], Sequence[int]]
Part = bytes | bytearray | memoryview

_new_tuple = tuple.__new__  # half the time of calling Message, and a sixth less than by a partial
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


def transpose(messages: Sequence[Message]) -> Columns:
    """The five columns of a batch that is not empty. Raises TypeError or ValueError for what is no message."""
    return messages.columns if isinstance(messages, Batch) else BatchColumns.of(messages)


def encode(columns: Columns, take: Callable[[int], BytesIO] = lambda size: BytesIO()) -> list[Part]:
    """Encode a batch that is not empty as buffers to be written one after the other.

    take(size): a stream at its beginning, into which so much is written where a batch is large. Raises Rejected if an
    id contains NUL, TypeError or ValueError for what is not a message.
    """
    ids, keys, bodies, headers, created = columns
    count = len(ids)
    lengths = list(map(len, bodies))
    key_lengths = key_column = header_column = b""
    flags = 0
    if keys.count(None) != count:
        flags |= _KEYS
        key_lengths = pack(f"<{count}i", *[-1 if key is None else len(key) for key in keys])
        key_column = b"".join([key for key in keys if key])
    if headers.count(NO_HEADERS) != count:
        flags |= _HEADERS
        header_column = _encode_headers(headers)
    joined = _joined(ids, count)
    head = _HEAD.pack(len(joined), len(key_column), len(header_column), flags)
    fixed = pack(f"<{count}q{count}I", *created, *lengths)
    front = (head, fixed, joined, key_lengths, key_column, header_column)
    return _with_bodies(front, bodies, sum(lengths), take)


def encode_many(messages: Sequence[Message], take: Callable[[int], BytesIO]) -> list[Part] | None:
    """As `encode`, of messages that have neither keys nor headers; None where one of them has.

    What was turned into columns is encoded while the processor's caches have it: with thousands of messages the columns
    would be fetched from memory again for each thing that is done with them.
    """
    ids: list[str] = []
    created: list[bytes] = []
    lengths: list[bytes] = []
    bodies: list[bytes] = []
    size = 0
    for part in BatchColumns.parts(messages):
        count = len(part.ids)
        if part.keys.count(None) != count or part.has_headers:
            return None
        sizes = list(map(len, part.bodies))
        size += sum(sizes)
        created.append(pack(f"<{count}q", *part.created))
        lengths.append(pack(f"<{count}I", *sizes))
        ids.append("\0".join(part.ids))
        bodies += part.bodies
    joined = _joined(ids, len(messages))
    return _with_bodies((_HEAD.pack(len(joined), 0, 0, 0), *created, *lengths, joined), bodies, size, take)


def _joined(ids: Sequence[str], count: int) -> bytes:
    joined = _raw("\0".join(ids))
    if joined.count(b"\0") != count - 1:
        raise Rejected(_NUL)
    return joined


def _with_bodies(
    front: Sequence[bytes], bodies: Sequence[bytes], size: int, take: Callable[[int], BytesIO]
) -> list[Part]:
    if size > _JOIN_BYTES_MAX * len(bodies):
        return [b"".join(front), *[body if type(body) is bytes else bytes(memoryview(body)) for body in bodies]]
    if size < _FRESH_BYTES_MAX:
        return [b"".join((*front, *bodies))]
    into = take(sum(map(len, front)) + size)
    into.writelines(front)
    into.writelines(bodies)
    return [into.getbuffer()[: into.tell()]]


def encode_one(message: Message) -> bytes:
    """As `encode`, of a single message, which by itself is a third of the work."""
    id, key, body, headers, created = message
    joined = id.encode() if id.isascii() else _raw(id)
    if b"\0" in joined:
        raise Rejected(_NUL)
    if not headers and headers is not NO_HEADERS:
        dict(headers)  # TypeError for what is no mapping, as in a batch
    if key is None and not headers:
        return b"".join((_ONE.pack(len(joined), 0, 0, 0, created, len(body)), joined, body))
    flags = 0
    key_length = key_column = header_column = b""
    if key is not None:
        flags, key_length, key_column = _KEYS, _KEY_LENGTH.pack(len(key)), key
    if headers:
        flags |= _HEADERS
        header_column = _encode_headers([headers])
    head = _ONE.pack(len(joined), len(key_column), len(header_column), flags, created, len(body))
    return b"".join((head, joined, key_length, key_column, header_column, body))


def decode(payload: memoryview, count: int) -> list[Message]:
    """The messages of one payload; bodies and keys are copies, so that the payload may be let go."""
    try:
        return _decode(payload, count)
    except (ValueError, IndexError, msgspec.DecodeError, struct.error) as error:
        raise Damaged(f"a batch of {count} messages cannot be decoded: {error}") from error


def _decode(payload: memoryview, count: int) -> list[Message]:
    ids_bytes, keys_bytes, headers_bytes, flags = _HEAD.unpack_from(payload)
    at = _HEAD.size
    created = _array("q", payload[at : at + 8 * count])
    at += 8 * count
    lengths = bytes(payload[at : at + 4 * count])
    at += 4 * count
    ids = str(payload[at : at + ids_bytes], "utf-8", "surrogateescape").split("\0")
    at += ids_bytes
    keys: Any = repeat(None)
    headers: Any = repeat(NO_HEADERS)
    if flags & _KEYS:
        key_lengths = _array("i", payload[at : at + 4 * count])
        at += 4 * count
        keys = _decode_keys(bytes(payload[at : at + keys_bytes]), key_lengths)
        at += keys_bytes
    if flags & _HEADERS:
        headers = _decode_headers(payload[at : at + headers_bytes])
        at += headers_bytes
    bodies = _cut(payload[at:], lengths)
    if not len(ids) == len(bodies) == len(created) == count:
        raise ValueError(f"columns of {len(ids)} ids, {len(bodies)} bodies, {len(created)} times")
    return list(map(_new_tuple, repeat(Message), zip(ids, keys, bodies, headers, created, strict=False)))


def _cut(column: memoryview, encoded: bytes) -> Sequence[bytes]:
    """One after the other, by their encoded lengths. Equal lengths in one call; else from bytes, which are cut twice
    as fast as a view."""
    lengths = _array("I", encoded)
    if not lengths:
        return ()
    if encoded == encoded[: lengths.itemsize] * len(lengths):
        return struct.unpack_from(f"{lengths[0]}s" * len(lengths), column)
    if len(column) > _JOIN_BYTES_MAX * len(lengths):
        return [bytes(column[a:b]) for a, b in pairwise(accumulate(lengths, initial=0))]
    joined = bytes(column)
    return [joined[a:b] for a, b in pairwise(accumulate(lengths, initial=0))]


def _decode_keys(joined: bytes, lengths: array[int]) -> list[bytes | None]:
    keys: list[bytes | None] = []
    at = 0
    for length in lengths:
        if length < 0:
            keys.append(None)
        else:
            keys.append(joined[at : at + length])
            at += length
    return keys


def _encode_headers(headers: Sequence[Mapping[str, str]]) -> bytes:
    column = [dict(each) for each in headers]
    "".join(chain.from_iterable(chain.from_iterable(map(dict.items, column))))  # TypeError for what is not text
    try:
        return _pack(column)
    except UnicodeEncodeError:
        # msgpack text must be UTF-8; what came in by surrogateescape leaves as the bytes it was.
        return _pack([{_raw(k): _raw(v) for k, v in each.items()} for each in column])


def _raw(text: str) -> bytes:
    """The bytes that read back as this text. Raises Rejected where none do: escapes that together are UTF-8."""
    raw = text.encode("utf-8", "surrogateescape")
    if not text.isascii() and raw.decode("utf-8", "surrogateescape") != text:
        raise Rejected(f"{text[:40]!r} would not read back as it is: its escaped bytes together are UTF-8")
    return raw


def _decode_headers(column: memoryview) -> list[Mapping[str, str]]:
    return [{_text(k): _text(v) for k, v in each.items()} if each else NO_HEADERS for each in _unpack(column)]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _array(typecode: str, column: memoryview | bytes) -> array[int]:
    values: array[int] = array(typecode)
    values.frombytes(column)
    if sys.byteorder == "big":
        values.byteswap()
    return values
