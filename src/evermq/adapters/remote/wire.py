"""What crosses the socket: length-prefixed msgpack, batches as columns, errors by name.

A request is [number, verb, arguments], an answer [number, error or None, result]. An owner that ends the connection
says [0, None, number of the last request that it took] when it has answered; those behind it were not looked at.
Text that came in by surrogateescape (ids, headers) is no UTF-8, which msgpack text must be; such a batch carries those
columns as bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from struct import Struct
from typing import Any

import msgspec

from evermq import errors
from evermq.adapters.plain import unstorable, why_not
from evermq.batch import Columns
from evermq.errors import EvermqError, Partial, Rejected, TooLarge, Uncertain
from evermq.message import NO_HEADERS, Message
from evermq.port import Delivery
from evermq.position import Position

__all__ = [
    "FRAME_BYTES_MAX",
    "GOODBYE",
    "VERSION",
    "Malformed",
    "decode",
    "decode_error",
    "encode",
    "encode_error",
    "frame",
]
__all__ += ["pack_deliveries", "pack_messages", "pack_positions", "read_frame", "unpack_deliveries", "unpack_messages"]
__all__ += ["unpack_positions"]

VERSION = 1
GOODBYE = 0  # the number that no request has
FRAME_BYTES_MAX = 256 << 20
_LENGTH = Struct("<I")
_NO_VALUE = (TypeError, AttributeError, LookupError, OverflowError, ValueError)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()
_new_message = partial(tuple.__new__, Message)

encode = _encoder.encode


class Malformed(Exception):
    """The other side does not speak this protocol."""


def decode(body: bytes) -> Any:
    """Decode a frame's body. Raises Malformed."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Malformed(f"not a frame of this protocol: {error}") from error


def frame(content: object) -> bytes:
    """The bytes of one frame. Raises TooLarge for more than the other side takes, Rejected for what has no bytes."""
    try:
        body = encode(content)
    except _NO_VALUE as error:
        raise Rejected(f"this cannot cross the socket: {error}") from error
    if len(body) > FRAME_BYTES_MAX:
        raise TooLarge(
            f"{len(body)} bytes are more than the {FRAME_BYTES_MAX} that cross the socket at once: "
            "do it in parts, or in the process that owns the log"
        )
    return _LENGTH.pack(len(body)) + body


async def read_frame(stream: asyncio.StreamReader) -> bytes:
    """The body of the next frame. Raises IncompleteReadError at the end, Malformed for an absurd length."""
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    if length > FRAME_BYTES_MAX:
        raise Malformed(f"a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
    return await stream.readexactly(length)


def pack_messages(messages: Sequence[Message]) -> list[Any]:
    """A batch as columns. Raises Rejected where something in it is no message."""
    try:
        return _columns(messages) if messages else []
    except _NO_VALUE as error:
        named = (why for message in messages if (why := why_not(message, lambda one: _columns([one]))))
        raise next(named, unstorable(error)) from error


def _columns(messages: Sequence[Message]) -> list[Any]:
    texts, keys, bodies, headers, created = Columns.of(messages)
    ids: Any = texts
    "".join(ids)  # TypeError for what is not text: bytes would arrive as if they were
    packed: Any = None
    if headers.count(NO_HEADERS) != len(headers):
        packed = [dict(each) for each in headers]
    try:
        encode((ids, packed))
    except UnicodeEncodeError:
        ids = tuple(map(_raw, ids))
        packed = packed and [{_raw(k): _raw(v) for k, v in each.items()} for each in packed]
    return [ids, keys, bodies, packed, created]


def unpack_messages(columns: Sequence[Any]) -> list[Message]:
    """A batch from its columns."""
    if not columns:
        return []
    ids, keys, bodies, packed, created = columns
    if ids and isinstance(ids[0], bytes):
        ids = map(_text, ids)
        packed = packed and [{_text(k): _text(v) for k, v in each.items()} for each in packed]
    headers: Iterable[Mapping[str, str]] = [each or NO_HEADERS for each in packed] if packed else repeat(NO_HEADERS)
    return list(map(_new_message, zip(ids, keys, bodies, headers, created, strict=False)))


def pack_positions(positions: Sequence[Position]) -> list[Any]:
    """Positions as columns; `via` once, where it is the same for all."""
    if not positions:
        return []
    lanes = [position.lane for position in positions]
    offsets = [position.offset for position in positions]
    vias = [position.via for position in positions]
    one_lane = lanes.count(lanes[0]) == len(lanes)
    one_via = vias.count(vias[0]) == len(vias)
    return [lanes[0] if one_lane else lanes, offsets, vias[:1] if one_via else vias]


def unpack_positions(columns: Sequence[Any]) -> list[Position]:
    """Positions from their columns."""
    if not columns:
        return []
    lanes, offsets, vias = columns
    every_lane = repeat(lanes) if isinstance(lanes, str) else lanes
    every_via = repeat(tuple(vias[0])) if len(vias) == 1 else map(tuple, vias)
    return list(map(Position, every_lane, offsets, every_via))


def pack_deliveries(deliveries: Sequence[Delivery], tokens: Sequence[int]) -> list[Any]:
    """Deliveries as columns; their receipts stay here, tokens stand for them."""
    if not deliveries:
        return []
    messages = pack_messages([each.message for each in deliveries])
    positions = pack_positions([each.position for each in deliveries])
    return [messages, positions, tokens, [each.attempt for each in deliveries]]


def unpack_deliveries(columns: Sequence[Any]) -> list[Delivery]:
    """Deliveries from their columns; their receipts are the tokens."""
    if not columns:
        return []
    messages, positions, tokens, attempts = columns
    return list(map(Delivery, unpack_messages(messages), unpack_positions(positions), tokens, attempts))


def encode_error(error: BaseException) -> list[Any]:
    """An error by name; what is not ours is uncertain."""
    if isinstance(error, Partial):
        return ["Partial", list(map(_encoded, error.outcomes))]
    for kind in type(error).__mro__:
        if kind.__name__ in errors.__all__:
            return [kind.__name__, str(error)]
    return ["Uncertain", f"{type(error).__name__}: {error}"]


def decode_error(encoded: Sequence[Any]) -> EvermqError:
    """The error to raise; a name that is not known is Uncertain."""
    name, detail = encoded
    if name == "Partial":
        return Partial([_outcome(each) for each in detail])
    kind = getattr(errors, name, Uncertain) if name in errors.__all__ else Uncertain
    error: EvermqError = kind(detail)
    return error


def _encoded(outcome: Position | EvermqError) -> list[Any]:
    if isinstance(outcome, Position):
        return [0, outcome.lane, outcome.offset, outcome.via]
    return [1, *encode_error(outcome)]


def _outcome(encoded: Sequence[Any]) -> Position | EvermqError:
    is_error, *rest = encoded
    return decode_error(rest) if is_error else Position(rest[0], rest[1], tuple(rest[2]))


def _raw(text: str) -> bytes:
    """The bytes that read back as this text. Raises Rejected where none do: escapes that together are UTF-8."""
    raw = text.encode("utf-8", "surrogateescape")
    if not text.isascii() and _text(raw) != text:
        raise Rejected(f"{text[:40]!r} would not read back as it is: its escaped bytes together are UTF-8")
    return raw


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
