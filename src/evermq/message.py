"""What travels: an immutable message with an identity that never changes on any path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import count
from reprlib import repr as short
from types import MappingProxyType
from typing import Any, NamedTuple

from evermq.clock import SYSTEM, Clock
from evermq.errors import Rejected

__all__ = ["DELIVER_AT", "HOPS", "NO_HEADERS", "PREFIX", "Message", "MessageFactory", "due_ms"]

PREFIX = "evermq-"  # headers that begin so belong to evermq
DELIVER_AT = "evermq-deliver-at-ms"  # not delivered before this time, milliseconds since 1970
HOPS = "evermq-hops"  # how many pumps carried the message

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Message(NamedTuple):
    """One message. A named tuple, because whole batches are transposed into columns and back in one call.

    id: given at birth, unique, without NUL. key: messages of one key keep their order, None for no key.
    headers: text; bytes of foreign engines that are not UTF-8 stand in it by `surrogateescape`.
    created_ms: milliseconds since 1970 by the producer's clock; a label, never used for order.
    """

    id: str
    key: bytes | None
    body: bytes
    headers: Mapping[str, str]
    created_ms: int


_new_message = partial(tuple.__new__, Message)  # half the time of calling Message


def due_ms(headers: Mapping[str, str]) -> int:
    """Before which time a message with these headers is not delivered, 0 for at once. Raises Rejected."""
    text = headers.get(DELIVER_AT, "0")
    try:
        return int(text)
    except ValueError as error:
        raise Rejected(f"header {DELIVER_AT} is {text!r}: give milliseconds since 1970 as a whole number") from error


class MessageFactory:
    """Makes messages whose ids are `SESSION-COUNTER`, SESSION being random for each factory."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._now_ms = clock.now_ms
        self._prefix = clock.token() + "-"
        self._next_number = count(1).__next__

    def __call__(
        self,
        body: bytes | str,
        *,
        key: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        delay_ms: int = 0,
        id: str | None = None,
    ) -> Message:
        """Return a new message; text is encoded as UTF-8, a bytearray or memoryview copied, and `delay_ms` becomes the
        deliver-at header. Raises Rejected."""
        return self.make(body, key, headers, delay_ms, id)

    def make(
        self,
        body: bytes | str,
        key: bytes | str | None,
        headers: Mapping[str, str] | None,
        delay_ms: int,
        id: str | None,
    ) -> Message:
        """As calling the factory, which costs a third more than calling a method."""
        now_ms = self._now_ms()
        try:
            if delay_ms > 0:
                headers = {**(headers or {}), DELIVER_AT: str(now_ms + delay_ms)}
            return _new_message(
                (
                    id or f"{self._prefix}{self._next_number()}",
                    key.encode() if isinstance(key, str) else key if key is None or type(key) is bytes else _fixed(key),
                    body if type(body) is bytes else body.encode() if isinstance(body, str) else _fixed(body),
                    headers or NO_HEADERS,
                    now_ms,
                )
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise _unfit(body, key, headers, delay_ms, error) from error


def _fixed(value: Any) -> Any:
    """As it is now, for all time; what are no bytes is for the queue to refuse."""
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _unfit(body: object, key: object, headers: object, delay_ms: object, error: Exception) -> Rejected:
    """Of which argument no message can be made."""
    if not isinstance(delay_ms, int | float):
        return Rejected(f"delay_ms = {short(delay_ms)}: give a whole number of milliseconds")
    for name, text in (("body", body), ("key", key)):
        if isinstance(error, UnicodeEncodeError) and text == error.object:
            return Rejected(f"{name} = {short(text)}: it has half a character, so it is no text: give bytes")
    return Rejected(f"headers = {short(headers)}: give a mapping of texts to texts, or None")
