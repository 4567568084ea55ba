"""Messages as RocketMQ has them, and back.

The id is RocketMQ's message id, the key the property `evermq-key`, `created_ms` is `evermq-created-ms`, and headers are
user properties. What RocketMQ would refuse (control characters, names of its own, more than a few kilobytes) is JSON,
in the property `evermq-more` or, where that is too large, in front of the body, with its length in `evermq-head`. As
RocketMQ refuses an empty body, that has an empty head too. What other programs wrote is readable: tag and keys are the
headers `rocketmq-tag` and `rocketmq-keys`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from evermq.adapters.plain import plain_size
from evermq.errors import TooLarge
from evermq.message import NO_HEADERS, Message

__all__ = ["BODY_BYTES_MAX", "fill", "message_of", "size_of"]

BODY_BYTES_MAX = 4 << 20  # maxMessageSize of proxy and broker
_KEY, _CREATED, _MORE, _HEAD = "evermq-key", "evermq-created-ms", "evermq-more", "evermq-head"
_HIDDEN = frozenset({_KEY, _CREATED, _MORE, _HEAD})
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PLAIN_COUNT_MAX = 100  # of 128 (userPropertyMaxNum)
_PLAIN_BYTES_MAX = 8_000  # of 16 KiB (maxUserPropertySize), where each character may take four bytes
_MORE_BYTES_MAX = 4_000


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


def message_of(wire: Any) -> Message:
    """The message in one of RocketMQ's."""
    properties, system = dict(wire.user_properties), wire.system_properties
    body, more = wire.body, properties.get(_MORE)
    if head := properties.get(_HEAD):
        more, body = body[: int(head)], body[int(head) :]
    found = json.loads(more) if more else {}
    key = bytes.fromhex(found["key"]) if "key" in found else None
    if _KEY in properties:
        key = properties[_KEY].encode()
    created = properties.get(_CREATED)
    headers = {name: text for name, text in properties.items() if name not in _HIDDEN}
    if created is None:
        key = key or (system.message_group.encode() or None)
        headers |= _foreign(system)
    else:
        headers = {name: text for name, text in headers.items() if not _is_theirs(name)} | found.get("headers", {})
    created_ms = int(created) if created is not None else system.born_timestamp.ToMilliseconds()
    return Message(found.get("id") or system.message_id, key, body, headers or NO_HEADERS, created_ms)


def _foreign(system: Any) -> dict[str, str]:
    found = {"rocketmq-tag": system.tag, "rocketmq-keys": " ".join(system.keys)}
    return {name: text for name, text in found.items() if text}
