"""What a message has to be before an engine's own format is asked."""

from __future__ import annotations

from evermq.errors import Rejected
from evermq.message import Message

__all__ = ["plain_size"]


def plain_size(message: Message) -> int:
    """Bytes of body and key. Raises Rejected for what is no message."""
    id, key, body, headers, created_ms = message
    if type(body) is not bytes or (key is not None and type(key) is not bytes):
        raise Rejected("body and key of a message are to be bytes")
    if type(id) is not str or not id:
        raise Rejected(f"message {id!r}: its id is to be text, and not empty: readers know a second copy by it")
    if type(created_ms) is not int or not -(1 << 63) <= created_ms < 1 << 63:
        raise Rejected(f"message {id!r}: created_ms = {created_ms!r} is to be a whole number of 64 bits")
    try:
        pairs = headers.items()
    except AttributeError:
        raise Rejected(f"message {id!r}: headers are {headers!r:.40}, no mapping: give {{}} for none") from None
    for name, text in pairs:
        if type(name) is not str or type(text) is not str:
            raise Rejected(f"message {id!r}: header {name!r} is to be text")
    return len(body) + (len(key) if key else 0)
