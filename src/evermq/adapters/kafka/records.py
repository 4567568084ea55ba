"""Messages as Kafka's records, and back: whole batches at a time, with nothing lost either way.

evermq's id is the one header that every record gets (`evermq-id`); key and body stand as they are. `created_ms` is the
record's timestamp, unless it is so far from now that retention would delete the record at once or brokers would refuse
it (message.timestamp.after.max.ms, 1 h by default); then, and on topics that stamp records themselves, it goes in
`evermq-created-ms`. Where brokers refuse the time of this host as well, a record has none: they take that, and their
retention goes by the file. A body that is null to Kafka reads as b"" with the header `evermq-null-body`, and is written
back as null. A header that is null to Kafka reads as "", and of a name that a foreign record has twice the last one is
read; in what order they stood, and what a mapping cannot hold of them, is in `evermq-kafka-headers`, and is written
back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evermq.message import DELIVER_AT, NO_HEADERS, Message

__all__ = ["CREATED", "ID", "NO_TIME_MS", "NULL_BODY", "UNREAD", "Header", "Record", "message_of", "record_of"]

ID = "evermq-id"
CREATED = "evermq-created-ms"
NULL_BODY = "evermq-null-body"
LISTED = "evermq-kafka-headers"  # JSON: a name whose value is in the mapping, or [name, value or null]
UNREAD = "evermq-unread-headers"  # what a record has instead of headers that the driver cannot decode

NO_TIME_MS = -1  # as a record's timestamp

Header = tuple[str, bytes | None]
Record = tuple[int, bytes | None, bytes | None, list[Header]]  # timestamp, key, value, headers

_OURS = frozenset({ID, CREATED, NULL_BODY, LISTED})


def record_of(message: Message, now_ms: int | None = None) -> Record:
    """A record for a message; with `now_ms`, that is its timestamp, and the message's own goes in a header."""
    id, key, body, headers, created_ms = message
    value: bytes | None = body
    listed: list[Header] = [(ID, _encoded(id))]
    if now_ms is not None:
        listed.append((CREATED, b"%d" % created_ms))
        created_ms = now_ms
    if LISTED in headers:
        listed += _as_listed(headers)
        value = body or None if NULL_BODY in headers else body
        return created_ms, key, value, listed
    for name, text in headers.items():
        if name not in _OURS:
            listed.append((name, _encoded(text)))
        elif name == NULL_BODY:
            value = body or None
    return created_ms, key, value, listed


def message_of(
    key: bytes | None, value: bytes | None, headers: Sequence[Header] | None, timestamp_ms: int, place: Sequence[Any]
) -> Message:
    """The message in a record. place: topic, lane and offset, the id of one that has none."""
    named = {name: "" if text is None else _text(text) for name, text in headers or ()}
    if headers and (len(named) < len(headers) or any(text is None for _, text in headers)):
        named[LISTED] = _list_of(headers)
    id = named.pop(ID, None) or "/".join(map(str, place))
    created = named.pop(CREATED, "")
    if created.isdecimal():
        timestamp_ms = int(created)
    if value is None:
        named[NULL_BODY] = "1"
    return Message(id, key, value or b"", named or NO_HEADERS, max(timestamp_ms, 0))


def _list_of(headers: Sequence[Header]) -> str:
    last = {name: at for at, (name, _) in enumerate(headers)}
    return json.dumps(
        [
            name if at == last[name] and text is not None else [name, None if text is None else _text(text)]
            for at, (name, text) in enumerate(headers)
            if name not in _OURS
        ]
    )


def _as_listed(headers: Mapping[str, str]) -> Iterator[Header]:
    """As they stood in the record that was read; what was taken out since stays out, what was changed is as it is now,
    what came later stands behind."""
    left = {name: text for name, text in headers.items() if name not in _OURS}
    rows = _rows(headers[LISTED])
    last = {name: at for at, (name, _, _) in enumerate(rows)}
    for at, (name, is_apart, text) in enumerate(rows):
        if name in left:
            yield name, text if is_apart and (at < last[name] or not left[name]) else _encoded(left[name])
    yield from ((name, _encoded(text)) for name, text in left.items() if name not in last)


def _rows(listed: str) -> list[tuple[str, bool, bytes | None]]:
    """Name, whether its value stands here, and that value; none of a list that evermq did not write."""
    try:
        return [(each, False, None) if isinstance(each, str) else _apart(*each) for each in json.loads(listed)]
    except (AttributeError, TypeError, ValueError, RecursionError):
        return []


def _apart(name: str, text: str | None) -> tuple[str, bool, bytes | None]:
    return name + "", True, None if text is None else text.encode("utf-8", "surrogateescape")


def reads_back(text: str) -> bool:
    """Whether a text is the same once it is read: escaped bytes that together are UTF-8 are another text then. Raises
    UnicodeEncodeError for what is no text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text


def is_late(message: Message, now_ms: int) -> bool:
    """Whether the message asks for a time still to come. Raises ValueError where that is no number."""
    due = message.headers.get(DELIVER_AT) if message.headers else None
    return due is not None and int(due) > now_ms


def _encoded(text: str) -> bytes:
    return text.encode() if text.isascii() else text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
