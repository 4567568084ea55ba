"""Messages as Kafka's records, and back: whole batches at a time, with nothing lost either way.

evermq's id is the one header that every record gets (`evermq-id`); key and body stand as they are. `created_ms` is the
record's timestamp, unless it is so far from now that retention would delete the record at once or brokers would refuse
it (message.timestamp.after.max.ms, 1 h by default); then, and on topics that stamp records themselves, it goes in
`evermq-created-ms`. A body that is null to Kafka reads as b"" with the header `evermq-null-body`, and is written back
as null. Of a header name that a foreign record has twice, the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from evermq.message import DELIVER_AT, NO_HEADERS, Message

__all__ = ["CREATED", "ID", "NULL_BODY", "Header", "Record", "message_of", "record_of"]

ID = "evermq-id"
CREATED = "evermq-created-ms"
NULL_BODY = "evermq-null-body"

Header = tuple[str, bytes | None]
Record = tuple[int, bytes | None, bytes | None, list[Header]]  # timestamp, key, value, headers

_OURS = frozenset({ID, CREATED, NULL_BODY})


def record_of(message: Message, now_ms: int | None = None) -> Record:
    """A record for a message; with `now_ms`, that is its timestamp, and the message's own goes in a header."""
    id, key, body, headers, created_ms = message
    value: bytes | None = body
    listed: list[Header] = [(ID, _encoded(id))]
    if now_ms is not None:
        listed.append((CREATED, b"%d" % created_ms))
        created_ms = now_ms
    for name, text in headers.items():
        if name not in _OURS:
            listed.append((name, _encoded(text)))
        elif name == NULL_BODY:
            value = body or None
    return created_ms, key, value, listed


def message_of(
    key: bytes | None, value: bytes | None, headers: Iterable[Header] | None, timestamp_ms: int, place: Sequence[Any]
) -> Message:
    """The message in a record. place: topic, lane and offset, the id of one that has none."""
    named = {name: "" if text is None else text.decode("utf-8", "surrogateescape") for name, text in headers or ()}
    id = named.pop(ID, None) or "/".join(map(str, place))
    created = named.pop(CREATED, "")
    if created.isdecimal():
        timestamp_ms = int(created)
    if value is None:
        named[NULL_BODY] = "1"
    return Message(id, key, value or b"", named or NO_HEADERS, max(timestamp_ms, 0))


def is_late(message: Message, now_ms: int) -> bool:
    """Whether the message asks for a time still to come. Raises ValueError where that is no number."""
    due = message.headers.get(DELIVER_AT) if message.headers else None
    return due is not None and int(due) > now_ms


def _encoded(text: str) -> bytes:
    return text.encode() if text.isascii() else text.encode("utf-8", "surrogateescape")
