"""A batch of messages, checked, and dealt to lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import methodcaller

from confluent_kafka import murmur2

from evermq.adapters.kafka.records import is_late
from evermq.batch import Batch, Columns
from evermq.errors import Rejected, TooLarge, Unsupported
from evermq.message import DELIVER_AT, Message

__all__ = ["LaneOf", "check", "deal", "is_near"]

_NEAR_MS = 600_000  # labels of time this far from now stand in the record itself
_KEYS_REMEMBERED = 65_536
_BYTES = {bytes}
_KEYS = {bytes, type(None)}
_TEXT = {str}
_values = methodcaller("values")


def is_near(columns: Columns, now_ms: int) -> bool:
    """Whether the times of creation may stand in the records themselves."""
    return now_ms - _NEAR_MS < min(columns.created) and max(columns.created) < now_ms + _NEAR_MS


def check(messages: Batch, bytes_max: int, now_ms: int) -> None:
    """Raise Rejected or a kind of it where a message cannot be appended as it stands."""
    columns = messages.columns
    if {*map(type, columns.bodies)} != _BYTES:
        wrong = next(m for m in messages if type(m.body) is not bytes)
        raise Rejected(f"message {wrong.id}: body is {type(wrong.body).__name__}, not bytes: encode it")
    if not {*map(type, columns.keys)} <= _KEYS:
        wrong = next(m for m in messages if type(m.key) not in _KEYS)
        raise Rejected(f"message {wrong.id}: key is {type(wrong.key).__name__}, not bytes or None: encode it")
    if messages.body_bytes_max > bytes_max // 2:
        _check_sizes(messages, bytes_max)
    if columns.has_headers and not _are_plain(columns.headers, bytes_max):
        for message in messages:
            _check_headers(message, bytes_max, now_ms)


def _are_plain(headers: Sequence[Mapping[str, str]], bytes_max: int) -> bool:
    """Whether nothing in any of these has to be looked at closer."""
    names = {*chain.from_iterable(headers)}
    texts = [*chain.from_iterable(map(_values, headers))]
    return (
        {*map(type, names)} | {*map(type, texts)} == _TEXT
        and DELIVER_AT not in names
        and all(map(str.isascii, names))
        and max(map(len, texts)) <= bytes_max // 8
    )


def _check_sizes(messages: Sequence[Message], bytes_max: int) -> None:
    for message in messages:
        size = len(message.body) + len(message.key or b"")
        size += sum(len(text.encode("utf-8", "surrogateescape")) for pair in message.headers.items() for text in pair)
        if size > bytes_max:
            raise TooLarge(
                f"message {message.id} has {size} bytes, the topic takes {bytes_max} (max.message.bytes, less what a "
                "record needs): store the body elsewhere, or raise the limit"
            )


def _check_headers(message: Message, bytes_max: int, now_ms: int) -> None:
    for name, text in message.headers.items():
        if type(name) is not str or type(text) is not str:
            raise Rejected(f"message {message.id}: header {name!r} is not text: encode it")
        if len(text) > bytes_max // 8:
            _check_sizes((message,), bytes_max)
        if not name.isascii():
            _check_name(message, name)
    try:
        late = is_late(message, now_ms)
    except ValueError as error:
        raise Rejected(f"message {message.id}: {DELIVER_AT} is no number of milliseconds") from error
    if late:
        raise Unsupported(f"message {message.id}: Kafka delays nothing: leave {DELIVER_AT} out, or give a delay queue")


def _check_name(message: Message, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"message {message.id}: the name of a header, {name!r}, is not UTF-8") from error


class LaneOf(dict[bytes | None, int]):
    """The lane of each key as Kafka's default partitioner has it, remembered for the keys that were asked for."""

    def __init__(self, lanes: int) -> None:
        super().__init__()
        self._lanes = lanes

    def __missing__(self, key: bytes | None) -> int:
        if len(self) > _KEYS_REMEMBERED:
            self.clear()
        lane: int = murmur2(key, self._lanes)
        self[key] = lane
        return lane


def deal(keys: Sequence[bytes | None], lane_of: LaneOf, unkeyed: int) -> dict[int, Sequence[int]]:
    """Rows by lane; what has no key goes to the lane `unkeyed`."""
    lane_of[None] = unkeyed
    lanes = list(map(lane_of.__getitem__, keys))
    if lanes.count(lanes[0]) == len(lanes):
        return {lanes[0]: range(len(lanes))}
    rows: dict[int, list[int]] = {lane: [] for lane in {*lanes}}
    for row, lane in enumerate(lanes):
        rows[lane].append(row)
    return dict(rows)
