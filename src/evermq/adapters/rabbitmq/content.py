"""Messages as AMQP has them, and back.

The id is `message_id`, or the header `evermq-id` where that is too long for it; the key is the header `evermq-key`, and
`created_ms` is `evermq-created-ms` (the property `timestamp` has whole seconds only). Headers that are not UTF-8 are
written as the bytes they stand for. What other programs wrote is readable: numbers and times become text, tables and
lists JSON, and properties that evermq has no field for are headers that begin with `amqp-`. A message of theirs that
has no `message_id` gets an id that no other one has, and another one each time it comes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pamqp.header import ContentHeader

from evermq.errors import Rejected
from evermq.fields import plain_size
from evermq.message import NO_HEADERS, Message

__all__ = ["CREATED", "ID", "KEY", "attempt_of", "frames_of", "id_of", "message_of", "size_of"]

ID, KEY, CREATED = "evermq-id", "evermq-key", "evermq-created-ms"
COUNT = "x-delivery-count"
_HIDDEN = frozenset({ID, KEY, CREATED, COUNT})
_FOREIGN = ("content_type", "content_encoding", "correlation_id", "reply_to", "message_type", "app_id")

# Flags of the properties that are there, in the order in which they are written: headers, delivery-mode, message-id,
# timestamp (section 4.2.6.1 of the specification of AMQP 0-9-1).
_WITH_ID, _WITHOUT_ID = 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6, 1 << 13 | 1 << 12 | 1 << 6
_FRAME = struct.Struct(">BHI")
_HEAD = struct.Struct(">HHQHI")  # class 60, weight 0, size of the body, flags, size of the table of headers
_LONG = struct.Struct(">I")
_CREATED = bytes([len(CREATED)]) + CREATED.encode() + b"l"
_KEY = bytes([len(KEY)]) + KEY.encode() + b"x"
_ID = bytes([len(ID)]) + ID.encode() + b"S"
_TIME = struct.Struct(">Q")
_INT = struct.Struct(">q")
_END = b"\xce"
_PERSISTENT = b"\x02"


def size_of(message: Message) -> int:
    """Bytes of body, key and headers. Raises Rejected for what is no message."""
    size, id = plain_size(message), message.id
    for name, text in message.headers.items():
        if len(name) > 255 or _raw_size(id, "the name of a header", name) > 255:
            raise Rejected(
                f"message {id!r}: the name of header {name[:40]!r}… is over 255 bytes, RabbitMQ takes no more"
            )
        size += len(name) + _raw_size(id, name, text)
    if not id.isascii():
        _raw_size(id, "its id", id)
    return size


def _raw_size(id: str, field: str, text: str) -> int:
    """Bytes of a text; escaped bytes that together are UTF-8 would read back as another one."""
    if text.isascii():
        return len(text)
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Rejected(f"message {id!r}: {field}, {text[:40]!r}, has half a surrogate pair: that is no text") from None
    if raw.decode("utf-8", "surrogateescape") != text:
        raise Rejected(f"message {id!r}: {field}, {text[:40]!r}, has escaped bytes that are UTF-8: decode them")
    return len(raw)


def frames_of(message: Message, channel: int, body_bytes_max: int) -> list[bytes]:
    """The frames behind basic.publish. Raises Rejected."""
    id, key, body, headers, created_ms = message
    table = _CREATED + _INT.pack(created_ms)
    if key is not None:
        table += _KEY + _LONG.pack(len(key)) + key
    if headers:
        table += b"".join(_field(id, name, text) for name, text in headers.items())
    raw = id.encode("utf-8", "surrogateescape")
    short = len(raw) <= 255 and raw.isascii()
    if not short:
        table += _ID + _LONG.pack(len(raw)) + raw
    head = _HEAD.pack(60, 0, len(body), _WITH_ID if short else _WITHOUT_ID, len(table)) + table + _PERSISTENT
    if short:
        head += bytes([len(raw)]) + raw
    head += _TIME.pack(max(0, created_ms) // 1000)
    frames = [_FRAME.pack(2, channel, len(head)), head, _END]
    for at in range(0, len(body), body_bytes_max):
        part = body if len(body) <= body_bytes_max else body[at : at + body_bytes_max]
        frames += (_FRAME.pack(3, channel, len(part)), part, _END)
    return frames


def _field(id: str, name: str, text: str) -> bytes:
    if name in _HIDDEN:
        return b""
    try:
        raw_name = name.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"message {id}: the name of header {name!r} is not UTF-8, RabbitMQ takes no other") from error
    raw = text.encode("utf-8", "surrogateescape")
    return bytes([len(raw_name)]) + raw_name + b"S" + _LONG.pack(len(raw)) + raw


def id_of(header: ContentHeader) -> str:
    """The id in a content header, empty where there is none."""
    table = header.properties.headers or {}
    return _text(table[ID]) if ID in table else str(header.properties.message_id or "")


def attempt_of(header: ContentHeader, redelivered: bool) -> int:
    """How many times the broker has sent it out, this time included."""
    count = (header.properties.headers or {}).get(COUNT)
    return 1 + (int(count) if isinstance(count, int) else int(redelivered))


def message_of(header: ContentHeader, body: bytes, place: Sequence[Any]) -> Message:
    """The message in a delivery. place: the id of one that has none, in parts."""
    properties = header.properties
    table = properties.headers or {}
    key = table.get(KEY)
    created = table.get(CREATED)
    if not isinstance(created, int):
        stamp = properties.timestamp
        created = int(stamp.timestamp() * 1000) if isinstance(stamp, datetime) else 0
    named = {name: _text(value) for name, value in table.items() if name not in _HIDDEN}
    for name in _FOREIGN:
        if value := getattr(properties, name, None):
            named.setdefault(f"amqp-{name.replace('_', '-')}", str(value))
    raw_key = None if key is None else bytes(key) if isinstance(key, bytes | bytearray) else _text(key).encode()
    return Message(id_of(header) or "/".join(map(str, place)), raw_key, body, named or NO_HEADERS, created)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogateescape")
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, default=_text)
    return value.isoformat() if isinstance(value, datetime) else str(value)
