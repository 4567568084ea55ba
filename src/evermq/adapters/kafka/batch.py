"""A batch of messages, checked, dealt to lanes and encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from confluent_kafka import murmur2
from crc32c import crc32c

from evermq.adapters.kafka.records import is_late, record_of
from evermq.errors import EvermqError, Rejected, TooLarge, Unsupported
from evermq.message import DELIVER_AT, Message

__all__ = ["COMPRESSIONS", "LaneBatch", "check", "deal", "encode", "is_near"]

COMPRESSIONS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_NEAR_MS = 600_000  # labels of time this far from now stand in the record itself
# Where they stand in a record batch: https://kafka.apache.org/documentation/#recordbatch
_NUMBERS, _NUMBERS_AT = Struct(">qhi"), 43
_CRC, _CRC_AT, _CHECKED_FROM = Struct(">I"), 17, 21
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


def check(messages: Sequence[Message], bytes_max: int, now_ms: int) -> None:
    """Raise Rejected or a kind of it where a message cannot be appended as it stands."""
    if {*map(type, [m[2] for m in messages])} != _BYTES:
        wrong = next(m for m in messages if type(m[2]) is not bytes)
        raise Rejected(f"message {wrong.id}: body is {type(wrong.body).__name__}, not bytes: encode it")
    if not {*map(type, [m[1] for m in messages])} <= _KEYS:
        wrong = next(m for m in messages if type(m[1]) not in _KEYS)
        raise Rejected(f"message {wrong.id}: key is {type(wrong.key).__name__}, not bytes or None: encode it")
    if max(map(len, [m[2] for m in messages])) > bytes_max // 2:
        _check_sizes(messages, bytes_max)
    for message in messages:
        if message[3]:
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


def deal(messages: Sequence[Message], lanes: int, unkeyed: int) -> dict[int, list[int]]:
    """Rows by lane: keys as Kafka's default partitioner has them, what has no key to the lane `unkeyed`."""
    lane_of = [unkeyed if (key := m[1]) is None else murmur2(key, lanes) for m in messages]
    if len({*lane_of}) == 1:
        return {lane_of[0]: list(range(len(messages)))}
    rows: dict[int, list[int]] = {}
    for row, lane in enumerate(lane_of):
        if lane in rows:
            rows[lane].append(row)
        else:
            rows[lane] = [row]
    return rows


def encode(
    messages: Sequence[Message],
    lane: int,
    rows: Sequence[int],
    *,
    batch_bytes: int,
    compression: int,
    now_ms: int | None,
) -> Iterator[LaneBatch]:
    """Encode rows of one lane into batches of at most `batch_bytes`; now_ms: see `record_of`."""
    start = 0
    while start < len(rows):
        builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, 0, batch_bytes)
        append = builder.append
        count = 0
        for row in rows[start:] if start else rows:
            timestamp, key, value, headers = record_of(messages[row], now_ms)
            if append(count, timestamp, key, value, headers) is None:
                break
            count += 1
        if count == 1 and builder.size() > batch_bytes:
            raise TooLarge(f"message {messages[rows[start]].id}: as a record it is over max.message.bytes of the topic")
        yield LaneBatch(lane, rows[start : start + count] if count < len(rows) else rows, builder)
        start += count


def is_near(messages: Sequence[Message], now_ms: int) -> bool:
    """Whether the times of creation may stand in the records themselves."""
    created = [m[4] for m in messages]
    return now_ms - _NEAR_MS < min(created) and max(created) < now_ms + _NEAR_MS
