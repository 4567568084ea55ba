"""Records as librdkafka hands them out, decoded by columns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress, groupby, repeat
from operator import is_not
from typing import Any, NamedTuple

from confluent_kafka import KafkaError
from confluent_kafka import Message as Raw

from evermq.adapters.kafka.lane import Row
from evermq.adapters.kafka.records import ID, message_of
from evermq.message import NO_HEADERS, Message

__all__ = ["Fetched", "decode"]

_BYTES = {bytes}
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
    """Most records have no header but evermq's id: where that is so of all of them, they are read column by column."""
    if not raw:
        return []
    headers = list(map(Raw.headers, raw))
    stamps = [timestamp_ms for _, timestamp_ms in map(Raw.timestamp, raw)]
    values = list(map(Raw.value, raw))
    ids = _ids(headers)
    if ids is not None and {*map(type, values)} == _BYTES and min(stamps) >= 0:
        columns = zip(ids, map(Raw.key, raw), values, repeat(NO_HEADERS), stamps, strict=False)
        return list(zip(map(Raw.offset, raw), map(_new_message, columns), strict=True))
    places = zip(repeat(topic), map(Raw.partition, raw), map(Raw.offset, raw), strict=False)
    messages = map(message_of, map(Raw.key, raw), values, headers, stamps, places)
    return list(zip(map(Raw.offset, raw), messages, strict=True))


def _ids(headers: Sequence[Any]) -> list[str] | None:
    """The ids, where each record has that header, nothing else, and nothing odd in it."""
    try:
        names, values = zip(*[only for (only,) in headers], strict=True)
        text = b"\0".join(values)
    except (TypeError, ValueError):
        return None
    ids = text.decode("ascii", "replace").split("\0")
    plain = names.count(ID) == len(names) == len(ids) and text.isascii() and "" not in ids
    return ids if plain else None
