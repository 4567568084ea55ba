"""Messages as RocketMQ has them, and back.

The id is RocketMQ's message id, the key the property `evermq-key`, `created_ms` is `evermq-created-ms`, and headers are
user properties. What RocketMQ would refuse (control characters, names of its own, more than a few kilobytes) is JSON,
in the property `evermq-more` or, where that is too large, in front of the body, with its length in `evermq-head`. As
RocketMQ refuses an empty body, that has an empty head too. What other programs wrote is readable: tag and keys are the
headers `rocketmq-tag` and `rocketmq-keys`, and so are properties of these names that evermq would not have written. A
body that is compressed in a way that is not known here comes as it is, with its encoding as `rocketmq-encoding`.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from typing import Any

from evermq.adapters.rocketmq.protocol import ENCODING_NAMES
from evermq.errors import TooLarge
from evermq.fields import plain_size
from evermq.message import NO_HEADERS, Message

__all__ = ["BODY_BYTES_MAX", "fill", "message_of", "size_of"]

BODY_BYTES_MAX = 4 << 20  # maxMessageSize of proxy and broker
_KEY, _CREATED, _MORE, _HEAD = "evermq-key", "evermq-created-ms", "evermq-more", "evermq-head"
_HIDDEN = frozenset({_KEY, _CREATED, _MORE, _HEAD})
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PLAIN_COUNT_MAX = 100  # of 128 (userPropertyMaxNum)
_PLAIN_BYTES_MAX = 8_000  # of 16 KiB (maxUserPropertySize), where each character may take four bytes
_MORE_BYTES_MAX = 4_000
_IDENTITY, _GZIP = 1, 2  # Encoding in definition.proto
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_UNPACKED_BYTES_MAX = 64 << 20  # a message that would become more stays as it is


def size_of(message: Message) -> int:
    """Bytes of body, key and headers. Raises Rejected for what is no message."""
    size = plain_size(message)
    for name, text in message.headers.items():
        size += len(name) + (len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape")))
    return size


def fill(wire: Any, message: Message) -> None:
    """Write a message into RocketMQ's. Raises TooLarge."""
    id, key, body, headers, created_ms = message
    properties = wire.user_properties
    properties[_CREATED] = str(created_ms)
    more: dict[str, Any] = {}
    if not _ID.fullmatch(id):
        more["id"] = id
        id = hashlib.md5(id.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    wire.system_properties.message_id = id
    if key is not None and not _plain_key(properties, key):
        more["key"] = key.hex()
    if headers and (rest := _plain_headers(properties, headers)):
        more["headers"] = rest
    if more or not body:
        body = _more(properties, more, body)
    if len(body) > BODY_BYTES_MAX:
        raise TooLarge(f"message {message.id} takes {len(body)} bytes, more than RocketMQ's maxMessageSize: 4 MiB")
    wire.body = body


def _plain_key(properties: Any, key: bytes) -> bool:
    text = key.decode("utf-8", "replace")
    if not key or len(key) > 1_000 or not text.isprintable() or "\ufffd" in text:
        return False
    properties[_KEY] = text
    return True


def _plain_headers(properties: Any, headers: Any) -> dict[str, str]:
    """Set those that RocketMQ takes as they are, and return the others."""
    rest, left = {}, _PLAIN_BYTES_MAX
    for name, text in headers.items():
        left -= len(name) + len(text)
        good = text and name.isprintable() and text.isprintable() and name not in _HIDDEN and not _is_theirs(name)
        if good and left > 0 and len(properties) < _PLAIN_COUNT_MAX:
            properties[name] = text
        elif name not in _HIDDEN:
            rest[name] = text
    return rest


def _is_theirs(name: str) -> bool:
    """Whether it may be a property of RocketMQ: those have no small letter, or begin with an underscore."""
    return name.upper() == name or name[0] == "_"


def _more(properties: Any, more: dict[str, Any], body: bytes) -> bytes:
    raw = json.dumps(more, separators=(",", ":"))
    if body and len(raw) <= _MORE_BYTES_MAX:
        properties[_MORE] = raw
        return body
    properties[_HEAD] = str(len(raw))
    return raw.encode() + body


def message_of(wire: Any, *, sure: bool = False) -> Message:
    """The message in one of RocketMQ's. Whatever stands in it, it can be handed out.

    sure: raise ValueError or RecursionError where it may not be what `fill` was given."""
    properties = dict(wire.user_properties)
    if _CREATED in properties:
        try:
            return _ours(wire, properties)
        except (ValueError, RecursionError):
            if sure:
                raise  # else evermq does not write so: it is another program's
    return _foreign(wire, properties)


def _ours(wire: Any, properties: dict[str, str]) -> Message:
    """As `fill` wrote it. Raises ValueError, RecursionError for what it does not write."""
    body, more = wire.body, properties.get(_MORE)
    if _HEAD in properties:
        size = _number(properties[_HEAD], 0, len(body))
        more, body = body[:size], body[size:]
    id, hex, rest = _parts(json.loads(more) if more else {})
    key = bytes.fromhex(hex) if hex is not None else None
    if _KEY in properties:
        key = properties[_KEY].encode()
    headers = {name: text for name, text in properties.items() if name not in _HIDDEN and not _is_theirs(name)} | rest
    created_ms = _number(properties[_CREATED], -(1 << 63), (1 << 63) - 1)
    return Message(id or wire.system_properties.message_id, key, body, headers or NO_HEADERS, created_ms)


def _number(text: str, least: int, most: int) -> int:
    """Raises ValueError."""
    found = int(text)
    if str(found) != text or not least <= found <= most:
        raise ValueError(text)
    return found


def _parts(more: Any) -> tuple[str | None, str | None, dict[str, str]]:
    """Id, key and headers. Raises ValueError."""
    if not isinstance(more, dict):
        raise ValueError(more)
    id, key, headers = more.get("id"), more.get("key"), more.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        raise ValueError(headers)
    if not isinstance(id, str | None) or not isinstance(key, str | None):
        raise ValueError(id, key)
    return id, key, headers


def _foreign(wire: Any, properties: dict[str, str]) -> Message:
    """Of another program, which may have set a key."""
    system = wire.system_properties
    key = (properties.pop(_KEY, "") or system.message_group).encode() or None
    body, encoding = _plain_body(wire.body, system.body_encoding)
    said = {"rocketmq-tag": system.tag, "rocketmq-keys": " ".join(system.keys), "rocketmq-encoding": encoding}
    headers = properties | {name: text for name, text in said.items() if text}
    return Message(system.message_id, key, body, headers or NO_HEADERS, system.born_timestamp.ToMilliseconds())


def _plain_body(body: bytes, encoding: int) -> tuple[bytes, str]:
    """What a program gave that had it compressed, as zlib or gzip (both are called GZIP); else the body as it is, and
    the name of its encoding."""
    if encoding <= _IDENTITY:
        return body, ""
    if encoding == _GZIP:
        unpacking = zlib.decompressobj(_ZLIB_OR_GZIP)
        try:
            plain = unpacking.decompress(body, _UNPACKED_BYTES_MAX)
        except zlib.error:
            plain = b""
        if unpacking.eof and not unpacking.unused_data:
            return plain, ""
    return body, ENCODING_NAMES.get(encoding, str(encoding))
