"""A batch of messages, checked, and dealt to lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import methodcaller

from confluent_kafka import murmur2

from evermq.adapters.kafka.records import is_late, reads_back
from evermq.batch import Batch, Columns
from evermq.errors import Rejected, TooLarge, Unsupported
from evermq.fields import NOT_A_MESSAGE, refusal
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
    try:
        _check(messages, bytes_max, now_ms)
    except NOT_A_MESSAGE as error:
        raise refusal(messages, error) from error


def _check(messages: Batch, bytes_max: int, now_ms: int) -> None:
    columns = messages.columns
    if not (all(columns.ids) and _is_text(columns.ids)):
        for message in messages:
            _check_id(message.id)
    if {*map(type, columns.bodies)} != _BYTES:
        wrong = next(m for m in messages if type(m.body) is not bytes)
        raise Rejected(f"message {wrong.id}: body is {type(wrong.body).__name__}, not bytes: encode it")
    if not {*map(type, columns.keys)} <= _KEYS:
        wrong = next(m for m in messages if type(m.key) not in _KEYS)
        raise Rejected(f"message {wrong.id}: key is {type(wrong.key).__name__}, not bytes or None: encode it")
    if not _are_whole(columns.created):
        wrong = next(m for m in messages if not isinstance(m.created_ms, int))
        raise Rejected(f"message {wrong.id}: created_ms is {wrong.created_ms!r}, not a whole number of milliseconds")
    if columns.has_headers and not _are_plain(columns.headers, bytes_max):
        for message in messages:
            _check_headers(message, bytes_max, now_ms)
    if messages.body_bytes_max > bytes_max // 2:
        _check_sizes(messages, bytes_max)


def _is_text(texts: Sequence[str]) -> bool:
    """Whether all of these are text that can be encoded, and reads back as it is."""
    try:
        whole = "".join(texts)
        return whole.isascii() or reads_back(whole) or all(map(reads_back, texts))
    except (TypeError, UnicodeEncodeError):
        return False


def _are_whole(numbers: Sequence[int]) -> bool:
    """Whether all of these are whole numbers; a sum is the quickest way to touch each of them."""
    try:
        return type(sum(numbers)) is int
    except TypeError:
        return False


def _are_plain(headers: Sequence[Mapping[str, str]], bytes_max: int) -> bool:
    """Whether nothing in any of these has to be looked at closer."""
    try:
        names = {*chain.from_iterable(headers)}
        texts = [*chain.from_iterable(map(_values, headers))]
    except (TypeError, AttributeError):
        return False
    return (
        {*map(type, names)} | {*map(type, texts)} == _TEXT
        and DELIVER_AT not in names
        and (joined := "".join(names)).isascii()
        and "\0" not in joined
        and _is_text(texts)
        and max(map(len, texts)) <= bytes_max // 8
    )


def _check_id(id: object) -> None:
    if type(id) is not str or not id:
        raise Rejected(f"message {id!r}: its id is to be text, and not empty: readers know a second copy by it")
    _check_text(f"message {id!r}: its id", id)


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
    if not isinstance(message.headers, Mapping):
        raise Rejected(f"message {message.id}: headers are {message.headers!r:.40}, no mapping: give {{}} for none")
    for name, text in message.headers.items():
        if type(name) is not str or type(text) is not str:
            raise Rejected(f"message {message.id}: header {name!r} is not text: encode it")
        _check_name(message, name)
        _check_text(f"message {message.id}: header {name!r}", text)
    if any(len(text) > bytes_max // 8 for text in message.headers.values()):
        _check_sizes((message,), bytes_max)
    try:
        late = is_late(message, now_ms)
    except ValueError as error:
        raise Rejected(f"message {message.id}: {DELIVER_AT} is no number of milliseconds") from error
    if late:
        raise Unsupported(f"message {message.id}: Kafka delays nothing: leave {DELIVER_AT} out, or give a delay queue")


def _check_name(message: Message, name: str) -> None:
    if "\0" in name:
        raise Rejected(f"message {message.id}: the name of a header, {name!r}, has a NUL, where readers would cut it")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"message {message.id}: the name of a header, {name!r}, is not UTF-8") from error


def _check_text(said: str, text: str) -> None:
    try:
        if not reads_back(text):
            raise Rejected(f"{said} would not read back as it is: its escaped bytes together are UTF-8")
    except UnicodeEncodeError:
        raise Rejected(f"{said} has half a surrogate pair: that is no text") from None


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
