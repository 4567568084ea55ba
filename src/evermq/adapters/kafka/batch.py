"""A batch of messages, checked, dealt to lanes and encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from confluent_kafka import murmur2
from crc32c import crc32c

from evermq.adapters.kafka.records import ID, is_late, record_of
from evermq.errors import EvermqError, Rejected, TooLarge, Unsupported
from evermq.message import DELIVER_AT, NO_HEADERS, Message

__all__ = ["COMPRESSIONS", "Columns", "LaneBatch", "LaneOf", "check", "deal", "encode"]

Append = Callable[..., Any]  # aiokafka's DefaultRecordBatchBuilder.append

COMPRESSIONS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_NEAR_MS = 600_000  # labels of time this far from now stand in the record itself
# Where they stand in a record batch: https://kafka.apache.org/documentation/#recordbatch
_NUMBERS, _NUMBERS_AT = Struct(">qhi"), 43
_CRC, _CRC_AT, _CHECKED_FROM = Struct(">I"), 17, 21
_KEYS_REMEMBERED = 65_536
_BYTES = {bytes}
_KEYS = {bytes, type(None)}


@dataclass(slots=True, eq=False)
class LaneBatch:
    """What goes to one lane in one request. rows: which messages of the append, in order; base: offset of the first,
    once it is appended; error: what became of it otherwise; sent: an attempt is on its way; uncertain: an earlier one
    may have landed; given_up: nobody waits for it any more."""

    lane: int
    rows: Sequence[int]
    builder: DefaultRecordBatchBuilder | None
    payload: bytearray | None = None
    base: int | None = None
    error: EvermqError | None = None
    sent: bool = False
    uncertain: bool = False
    given_up: bool = False

    def number(self, producer_id: int, epoch: int, sequence: int) -> None:
        """Build the payload with these numbers, or put them in the one that is built."""
        if self.builder is not None:
            self.builder.set_producer_state(producer_id, epoch, sequence)
            self.payload, self.builder = self.builder.build(), None
        elif self.payload is not None:
            _NUMBERS.pack_into(self.payload, _NUMBERS_AT, producer_id, epoch, sequence)
            _CRC.pack_into(self.payload, _CRC_AT, crc32c(bytes(self.payload[_CHECKED_FROM:])))


class Columns(NamedTuple):
    """A batch of messages, a tuple a field: what is looked at in every message is looked at in one go."""

    ids: tuple[str, ...]
    keys: tuple[bytes | None, ...]
    bodies: tuple[bytes, ...]
    headers: tuple[Mapping[str, str], ...]
    created: tuple[int, ...]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Columns:
        """Of one message at least."""
        return cls(*zip(*messages, strict=True))

    @property
    def has_headers(self) -> bool:
        return self.headers.count(NO_HEADERS) != len(self.headers)

    def is_near(self, now_ms: int) -> bool:
        """Whether the times of creation may stand in the records themselves."""
        return now_ms - _NEAR_MS < min(self.created) and max(self.created) < now_ms + _NEAR_MS


def check(messages: Sequence[Message], columns: Columns, bytes_max: int, now_ms: int) -> None:
    """Raise Rejected or a kind of it where a message cannot be appended as it stands."""
    if {*map(type, columns.bodies)} != _BYTES:
        wrong = next(m for m in messages if type(m.body) is not bytes)
        raise Rejected(f"message {wrong.id}: body is {type(wrong.body).__name__}, not bytes: encode it")
    if not {*map(type, columns.keys)} <= _KEYS:
        wrong = next(m for m in messages if type(m.key) not in _KEYS)
        raise Rejected(f"message {wrong.id}: key is {type(wrong.key).__name__}, not bytes or None: encode it")
    if max(map(len, columns.bodies)) > bytes_max // 2:
        _check_sizes(messages, bytes_max)
    if columns.has_headers:
        for message in messages:
            _check_headers(message, bytes_max, now_ms)


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


def encode(
    messages: Sequence[Message],
    columns: Columns,
    lane: int,
    rows: Sequence[int],
    *,
    batch_bytes: int,
    compression: int,
    now_ms: int | None,
) -> Iterator[LaneBatch]:
    """Encode rows of one lane into batches of at most `batch_bytes`; now_ms: see `record_of`."""
    plain = now_ms is None and not columns.has_headers
    while rows:
        builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, 0, batch_bytes)
        append = builder.append
        count = _fill(append, columns, rows) if plain else _fill_slowly(append, messages, rows, now_ms)
        if count == 1 and builder.size() > batch_bytes:
            raise TooLarge(f"message {columns.ids[rows[0]]}: as a record it is over max.message.bytes of the topic")
        yield LaneBatch(lane, rows if count == len(rows) else rows[:count], builder)
        rows = rows[count:]


def _fill(append: Append, columns: Columns, rows: Sequence[int]) -> int:
    """Records without headers of their own; returns how many there was room for."""
    ids, keys, bodies, _, created = columns
    count = 0
    for row in rows:
        id = ids[row]
        value = id.encode() if id.isascii() else id.encode("utf-8", "surrogateescape")
        if append(count, created[row], keys[row], bodies[row], [(ID, value)]) is None:
            break
        count += 1
    return count


def _fill_slowly(append: Append, messages: Sequence[Message], rows: Sequence[int], now_ms: int | None) -> int:
    count = 0
    for row in rows:
        if append(count, *record_of(messages[row], now_ms)) is None:
            break
        count += 1
    return count
