"""Messages as lines: what `send` takes and `read` gives."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from evermq.errors import EvermqError
from evermq.message import Message, MessageFactory
from evermq.port import Delivery
from evermq.position import Position

__all__ = ["BadInput", "acknowledged", "delivered", "message_of", "refused"]

_encode = msgspec.json.Encoder().encode
_SHOWN_MAX = 100
_KNOWN = {"id", "key", "headers", "body", "body_base64"}


class BadInput(Exception):
    """A line that is not what the format says."""


def message_of(line: bytes, format: str, key_field: str | None, make: MessageFactory) -> Message:
    """The message of one line. Raises BadInput."""
    return _from_json(line, make) if format == "json" else _from_text(line, key_field, make)


def _from_text(line: bytes, key_field: str | None, make: MessageFactory) -> Message:
    if key_field is None:
        return make(line)
    body = _object(line)
    if key_field not in body:
        raise BadInput(f"the body has no field {key_field!r} to take the key from")
    key = body[key_field]
    return make(line, key=None if key is None else key if isinstance(key, str) else _encode(key))


def _from_json(line: bytes, make: MessageFactory) -> Message:
    given = _object(line)
    unknown = given.keys() - _KNOWN
    if unknown:
        raise BadInput(f"field {sorted(unknown)[0]!r} is not known: known are {', '.join(sorted(_KNOWN))}")
    if ("body" in given) == ("body_base64" in given):
        raise BadInput("give either body or body_base64")
    headers = given.get("headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BadInput("headers must be an object of texts")
    for name in ("id", "key"):
        if not isinstance(given.get(name), str | None):
            raise BadInput(f"{name} must be a text or null")
    if given.get("id") == "":
        raise BadInput("id is empty: give a text of its own to each message, or leave id out")
    if "\0" in (given.get("id") or ""):
        raise BadInput("id must not contain NUL")
    return make(_body(given), key=_bytes(given.get("key")), headers=headers, id=given.get("id"))


def _body(given: dict[str, Any]) -> bytes:
    if "body" in given:
        body = given["body"]
        if not isinstance(body, str):
            instead = _encode(_encode(body).decode()).decode()
            shown = instead if len(instead) <= _SHOWN_MAX else '"…"'
            raise BadInput(f'body is no text: write "body": {shown}, or its bytes as body_base64')
        try:
            return body.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"body has half a character: give its bytes as body_base64: {error}") from error
    try:
        return base64.b64decode(given["body_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadInput(f"body_base64 is no base64: {error}") from error


def _bytes(key: str | None) -> bytes | None:
    try:
        return None if key is None else key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise BadInput(f"key has half a character: {error}") from error


def _with_escaped_bytes(line: bytes, error: Exception) -> Any:
    """What `read` writes of keys and headers that are not UTF-8, and msgspec does not take. Raises BadInput."""
    try:
        if b"\\ud" not in line:
            raise ValueError(error)
        return json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput(f"not JSON: {error}") from error


def _object(line: bytes) -> dict[str, Any]:
    try:
        content = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        content = _with_escaped_bytes(line, error)
    if not isinstance(content, dict):
        raise BadInput("not a JSON object")
    return content


def acknowledged(messages: Sequence[Message], positions: Sequence[Position], format: str) -> bytes:
    """One line for each acknowledged message."""
    lines = []
    for message, position in zip(messages, positions, strict=True):
        lane, offset, via = position.lane, position.offset, position.via
        if format == "json":
            lines.append(_json({"id": message.id, "lane": lane, "offset": offset, "via": "/".join(via)}))
        else:
            where = f"{'/'.join(via)} " if via else ""
            lines.append(f"{message.id} {where}{lane}/{offset}".encode("utf-8", "surrogateescape"))
    return b"".join(line + b"\n" for line in lines)


def refused(id: str | None, error: EvermqError | str, kind: str = "") -> bytes:
    """The line for a message that was not acknowledged."""
    return _json({"id": id, "error": kind or type(error).__name__, "detail": str(error)}) + b"\n"


def delivered(deliveries: Sequence[Delivery], format: str) -> bytes:
    """One line for each delivery."""
    if format == "text":
        return b"".join(delivery.message.body + b"\n" for delivery in deliveries)
    return b"".join(_json(_as_object(delivery)) + b"\n" for delivery in deliveries)


def _as_object(delivery: Delivery) -> dict[str, Any]:
    message, position = delivery.message, delivery.position
    content: dict[str, Any] = {
        "id": message.id,
        "key": None if message.key is None else message.key.decode("utf-8", "surrogateescape"),
        "headers": dict(message.headers),
    }
    try:
        content["body"] = message.body.decode()
    except UnicodeDecodeError:
        content["body_base64"] = base64.b64encode(message.body).decode()
    where = {"lane": position.lane, "offset": position.offset}
    return {**content, **where, "attempt": delivery.attempt, "via": "/".join(position.via)}


def _json(content: dict[str, Any]) -> bytes:
    try:
        return _encode(content)
    except UnicodeEncodeError:
        import json  # writes what came in by surrogateescape as \udcXX

        return json.dumps(content).encode()
