"""What the fields of a message have to be, before an engine's own format is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any

from evermq.errors import Rejected
from evermq.message import Message

__all__ = ["NOT_A_MESSAGE", "plain_size", "refusal"]

NOT_A_MESSAGE = (TypeError, ValueError, AttributeError, IndexError, KeyError)  # what one runs into with what is none


def plain_size(message: Message) -> int:
    """Bytes of body and key. Raises Rejected, naming message and field, for what is no message."""
    try:
        id, key, body, headers, created_ms = message
    except (TypeError, ValueError):
        raise _no_message(message) from None
    if not _is_text(id) or not id:
        what = "its id is to be text, and not empty: readers know a second copy by it"
        raise _wrong(message, f"message {short(id)}: {what}")
    if type(body) is not bytes:
        raise _wrong(message, f"message {id}: its body is to be bytes, not {type(body).__name__}")
    if key is not None and type(key) is not bytes:
        raise _wrong(message, f"message {id}: its key is to be bytes or None, not {type(key).__name__}")
    if type(created_ms) is not int or not -(1 << 63) <= created_ms < 1 << 63:
        raise _wrong(message, f"message {id}: created_ms = {short(created_ms)} is to be a whole number of 64 bits")
    if headers:
        _check_headers(id, headers)
    elif headers is None:
        raise _wrong(message, f"message {id}: its headers are to be a mapping, not None")
    return len(body) + (len(key) if key else 0)


def refusal(messages: Iterable[Message], error: object) -> Rejected:
    """Which of them cannot be stored and what is wrong with it, where one ran into `error` with them."""
    some = list(messages)
    for message in some:
        try:
            plain_size(message)
        except Rejected as found:
            return found
    strange = [message for message in some if not isinstance(message, Message)]
    return _no_message(strange[0]) if strange else Rejected(f"a message cannot be stored: {error}")


def _wrong(message: object, what: str) -> Rejected:
    """A text of five characters has five parts as well."""
    return Rejected(what) if isinstance(message, tuple) else _no_message(message)


def _no_message(given: object) -> Rejected:
    return Rejected(f"{short(given)} is no message: give evermq.Message, as MessageFactory or a producer makes it")


def _check_headers(id: str, headers: Any) -> None:
    if not isinstance(headers, Mapping):
        raise Rejected(f"message {id}: its headers are to be a mapping, not {type(headers).__name__}")
    for name, text in headers.items():
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
