"""Records as librdkafka hands them out, decoded by columns."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import compress, groupby, repeat
from operator import is_not
from typing import Any, NamedTuple

from confluent_kafka import KafkaError
from confluent_kafka import Message as Raw

from evermq.adapters.kafka.lane import Row
from evermq.adapters.kafka.records import CREATED, ID, NULL_BODY, UNREAD, message_of
from evermq.message import NO_HEADERS, Message

__all__ = ["Fetched", "decode"]

_log = logging.getLogger("evermq.kafka")

_BYTES = {bytes}
_READ_APART = {CREATED, NULL_BODY}  # headers that say something of the rest of their message
_new_message = partial(tuple.__new__, Message)


class Fetched(NamedTuple):
    """rows: by lane, in order. ends: (lane, offset) where a lane ended. errors: with their lane."""

    rows: dict[int, list[Row]]
    ends: list[tuple[int, int]]
    errors: list[tuple[KafkaError, int]]


def decode(topic: str, raw: Sequence[Any]) -> Fetched:
    """Take apart what `Consumer.consume` returned."""
    fetched = Fetched({}, [], [])
    errors = list(map(Raw.error, raw))
    if any(errors):
        for error, each in compress(zip(errors, raw, strict=True), map(is_not, errors, repeat(None))):
            if error.code() == KafkaError._PARTITION_EOF:
                fetched.ends.append((each.partition(), each.offset()))
            else:
                fetched.errors.append((error, each.partition()))
        raw = [each for each, error in zip(raw, errors, strict=True) if error is None]
    rows = _rows(topic, raw)
    at = 0
    for lane, run in groupby(map(Raw.partition, raw)):
        stop = at + len(list(run))
        if lane in fetched.rows:
            fetched.rows[lane] += rows[at:stop]
        else:
            fetched.rows[lane] = rows[at:stop]
        at = stop
    return fetched


def _rows(topic: str, raw: Sequence[Any]) -> list[Row]:
    """Most records have evermq's id, and the same other headers, if any: where that is so of all of them, they are read
    column by column."""
    if not raw:
        return []
    headers = _headers(topic, raw)
    stamps = [timestamp_ms for _, timestamp_ms in map(Raw.timestamp, raw)]
    values = list(map(Raw.value, raw))
    read = _by_columns(headers)
    if read is not None and {*map(type, values)} == _BYTES and min(stamps) >= 0:
        ids, others = read
        columns = zip(ids, map(Raw.key, raw), values, others, stamps, strict=False)
        return list(zip(map(Raw.offset, raw), map(_new_message, columns), strict=True))
    places = zip(repeat(topic), map(Raw.partition, raw), map(Raw.offset, raw), strict=False)
    messages = map(message_of, map(Raw.key, raw), values, headers, stamps, places)
    return list(zip(map(Raw.offset, raw), messages, strict=True))


def _headers(topic: str, raw: Sequence[Any]) -> list[Any]:
    """Of each record; of one with a name that is not UTF-8 a mark, since its driver fails over it. It may be asked once
    only: the list that it keeps then has holes, which end the process."""
    found: list[Any] = []
    asking = map(Raw.headers, raw)
    while True:
        try:
            found.extend(asking)  # keeps those before the one that fails, and goes on behind it
            return found
        except (SystemError, UnicodeDecodeError):
            each = raw[len(found)]
            where = f"{topic}/{each.partition()}/{each.offset()}"
            _log.error("record %s is read without its headers: the name of one is not UTF-8", where)
            found.append([(UNREAD, b"1")])


def _by_columns(headers: Sequence[Any]) -> tuple[list[str], Iterable[Mapping[str, str]]] | None:
    """The ids and the other headers, where all records have headers of the same names, and nothing odd in them."""
    columns: dict[str, list[str]] = {}
    try:
        for column in zip(*headers, strict=True):
            names, values = zip(*column, strict=True)
            text = b"\0".join(values)
            columns[names[0]] = found = text.decode("ascii", "replace").split("\0")
            if names.count(names[0]) < len(names) or len(found) > len(names) or not text.isascii():
                return None
    except (TypeError, ValueError):
        return None
    ids = columns.pop(ID, [""])
    if "" in ids or len(columns) < len(headers[0]) - 1 or not _READ_APART.isdisjoint(columns):
        return None
    if not columns:
        return ids, repeat(NO_HEADERS)
    return ids, map(dict, zip(*[zip(repeat(name), texts) for name, texts in columns.items()], strict=True))
