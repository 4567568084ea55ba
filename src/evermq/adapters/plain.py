"""What a message has to be before an engine's own format is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evermq.errors import Rejected
from evermq.message import Message

__all__ = ["plain_size", "unstorable", "why_not"]


def plain_size(message: Message) -> int:
    """Bytes of body and key. Raises Rejected, naming message and field, for what is no message."""
    id, key, body, headers, created_ms = message
    if not _is_text(id) or not id:
        raise Rejected(f"message {id!r}: its id is to be text, and not empty: readers know a second copy by it")
    if type(body) is not bytes:
        raise Rejected(f"message {id}: its body is to be bytes, not {type(body).__name__}")
    if key is not None and type(key) is not bytes:
        raise Rejected(f"message {id}: its key is to be bytes or None, not {type(key).__name__}")
    if type(created_ms) is not int or not -(1 << 63) <= created_ms < 1 << 63:
        raise Rejected(f"message {id}: created_ms = {created_ms!r} is to be a whole number of 64 bits")
    if headers:
        _check_headers(id, headers)
    elif headers is None:
        raise Rejected(f"message {id}: its headers are to be a mapping, not None")
    return len(body) + (len(key) if key else 0)


def why_not(message: Message, encode: Callable[[Message], object]) -> Rejected | None:
    """Why a message cannot be encoded, with its field; None where it can be, or where it is none at all."""
    try:
        encode(message)
    except Exception:
        try:
            plain_size(message)
        except Rejected as error:
            return error
        except (TypeError, ValueError):
            pass
    return None


def unstorable(error: Exception) -> Rejected:
    """Where nothing better is known."""
    return Rejected(f"a message cannot be stored: {error}")


def _check_headers(id: str, headers: Any) -> None:
    try:
        items = headers.items()
    except AttributeError:
        raise Rejected(f"message {id}: its headers are to be a mapping, not {type(headers).__name__}") from None
    for name, text in items:
        if not _is_text(name) or not _is_text(text):
            raise Rejected(f"message {id}: header {name!r} is to be text")


def _is_text(value: object) -> bool:
    """Half a character of UTF-16 is none, but for bytes that stand in it by `surrogateescape`."""
    if type(value) is not str:
        return False
    try:
        return value.isascii() or bool(value.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False
