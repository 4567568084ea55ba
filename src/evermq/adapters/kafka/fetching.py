"""Records as librdkafka hands them out, decoded by columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import compress, repeat
from operator import is_not
from typing import Any, NamedTuple

from confluent_kafka import KafkaError
from confluent_kafka import Message as Raw

from evermq.adapters.kafka.lane import Row
from evermq.adapters.kafka.records import ID, message_of
from evermq.message import NO_HEADERS, Message

__all__ = ["Fetched", "decode"]

_FIELDS = (Raw.offset, Raw.key, Raw.value, Raw.headers, Raw.timestamp)
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
    for lane, row in zip(map(Raw.partition, raw), _rows(topic, raw), strict=True):
        if lane in fetched.rows:
            fetched.rows[lane].append(row)
        else:
            fetched.rows[lane] = [row]
    return fetched


def _rows(topic: str, raw: Sequence[Any]) -> Iterator[Row]:
    """Most records have no header but evermq's id: those take the short way."""
    columns = (map(field, raw) for field in _FIELDS)
    for offset, key, value, headers, (_, timestamp_ms), each in zip(*columns, raw, strict=True):
        if headers and len(headers) == 1 and headers[0][0] == ID and headers[0][1].isascii() and value is not None:
            yield offset, _new_message((headers[0][1].decode(), key, value, NO_HEADERS, timestamp_ms))
        else:
            yield offset, message_of(key, value, headers, timestamp_ms, (topic, each.partition(), offset))
