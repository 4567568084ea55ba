"""Records as librdkafka hands them out, decoded by columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, repeat
from operator import is_not
from typing import Any, NamedTuple

from confluent_kafka import KafkaError
from confluent_kafka import Message as Raw

from evermq.adapters.kafka.lane import Row
from evermq.adapters.kafka.records import message_of

__all__ = ["Fetched", "decode"]


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
    rows = fetched.rows
    for each, lane, offset in zip(raw, map(Raw.partition, raw), map(Raw.offset, raw), strict=True):
        headers = each.headers()
        _, timestamp_ms = each.timestamp()
        row = (offset, message_of(each.key(), each.value(), headers, timestamp_ms, (topic, lane, offset)))
        if lane in rows:
            rows[lane].append(row)
        else:
            rows[lane] = [row]
    return fetched
