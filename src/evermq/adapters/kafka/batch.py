"""What goes to one lane in one request: records of one append, or of several that came while the lane was busy."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from crc32c import crc32c

from evermq.adapters.kafka.records import ID, NO_TIME_MS, record_of
from evermq.batch import Columns
from evermq.errors import EvermqError, TooLarge, Uncertain
from evermq.message import Message

__all__ = ["COMPRESSIONS", "LaneBatch", "Share", "Ticket", "put"]

Append = Callable[..., Any]  # aiokafka's DefaultRecordBatchBuilder.append

COMPRESSIONS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
# Where they stand in a record batch: https://kafka.apache.org/documentation/#recordbatch
_LENGTH, _LENGTH_AT, _COUNTED_FROM = Struct(">i"), 8, 12
_TIMES, _TIMES_AT = Struct(">iqq"), 23  # the number of the last record before them
_NUMBERS, _NUMBERS_AT = Struct(">qhi"), 43
_COUNT, _COUNT_AT = Struct(">i"), 57
_CRC, _CRC_AT, _CHECKED_FROM = Struct(">I"), 17, 21


class Ticket:
    """One append on its way.

    stamp_ms: see `record_of`. bytes_max: of a batch; batch_bytes: of one that has more than one record. shares: what
    batches have of it. future: done when all shares are settled, or nobody waits any more.
    """

    __slots__ = (
        "batch_bytes",
        "bytes_max",
        "columns",
        "compression",
        "future",
        "left",
        "messages",
        "plain",
        "shares",
        "stamp_ms",
    )

    def __init__(
        self, messages: Sequence[Message], columns: Columns, *, stamp_ms: int | None, bytes_max: int, compression: int
    ) -> None:
        self.messages = messages
        self.columns = columns
        self.stamp_ms = stamp_ms
        self.bytes_max = self.batch_bytes = bytes_max
        self.compression = compression
        self.plain = stamp_ms is None and not columns.has_headers
        self.shares: list[Share] = []
        self.left = 0
        self.future: Future[None] | None = None

    def times_ms(self, rows: Sequence[int]) -> tuple[int, int]:
        """Of the first of these rows, and the latest."""
        if self.stamp_ms is not None:
            return self.stamp_ms, self.stamp_ms
        created = self.columns.created
        return created[rows[0]], max([created[row] for row in rows])

    def leave_out_times(self) -> None:
        """What is encoded from now on has no time of its own."""
        self.stamp_ms = NO_TIME_MS
        self.plain = False

    def settled(self) -> None:
        """One share more is."""
        self.left -= 1
        if not self.left:
            self.over()

    def over(self) -> None:
        """Let the caller go on."""
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


@dataclass(slots=True, eq=False)
class Share:
    """What one batch has of one append. rows: which of its messages, in order; first: how many records stand before
    them in the batch; base: offset of the first of them, once they are appended; error: what became of them otherwise.
    """

    ticket: Ticket
    batch: LaneBatch
    rows: Sequence[int]
    first: int
    base: int | None = None
    error: EvermqError | None = None

    @property
    def lane(self) -> int:
        return self.batch.lane


class LaneBatch:
    """is_open: takes more. sent: an attempt is on its way; uncertain: an earlier one may have landed; settled: its
    shares have their outcomes, or went to other batches."""

    def __init__(self, lane: int, bytes_max: int, compression: int) -> None:
        self.lane = lane
        self.shares: list[Share] = []
        self.count = 0
        self.is_open = True
        self.payload: bytearray | None = None
        self.sent = False
        self.uncertain = False
        self.settled = False
        self._abandoned = 0
        self._bytes_max = bytes_max
        self._compression = compression
        self._first_ms = self._last_ms = -1
        self._builder: Any = None
        self._buffer = bytearray()
        self._begin()

    @property
    def size(self) -> int:
        """In bytes; before compression, as long as it is open."""
        return len(self.payload) if self.payload is not None else int(self._builder.size())

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for a share of it."""
        return self._abandoned < len(self.shares)

    @property
    def is_whole(self) -> bool:
        """Whether somebody waits for each share of it."""
        return not self._abandoned

    @property
    def has_times(self) -> bool:
        """Whether its records have any."""
        return self._last_ms > NO_TIME_MS

    def add(self, ticket: Ticket, rows: Sequence[int]) -> int:
        """Take as many of these rows as there is room for; returns how many.

        Raises TooLarge, or what the encoder says, where a message cannot be a record; then nothing was taken.
        """
        try:
            taken = self._fill(ticket, rows)
        except BaseException:
            self._encode_again()
            raise
        self.is_open = taken == len(rows)
        if taken:
            share = Share(ticket, self, rows if self.is_open else rows[:taken], self.count)
            first_ms, last_ms = ticket.times_ms(share.rows)
            self._first_ms = self._first_ms if self.count else first_ms
            self._last_ms = max(self._last_ms, last_ms)
            self.count += taken
            self.shares.append(share)
            ticket.shares.append(share)
            ticket.left += 1
        return taken

    def number(self, producer_id: int, epoch: int, sequence: int) -> None:
        """Build the payload with these numbers, or put them in the one that is built."""
        self.is_open = False
        if self.payload is None:
            self.payload = self._built()
        payload = self.payload
        _NUMBERS.pack_into(payload, _NUMBERS_AT, producer_id, epoch, sequence)
        with memoryview(payload) as whole, whole[_CHECKED_FROM:] as checked:
            _CRC.pack_into(payload, _CRC_AT, crc32c(checked))

    def _built(self) -> bytearray:
        """The payload, but for its numbers and checksum."""
        if self._compression:
            built: bytearray = self._builder.build()
            return built
        buffer = self._buffer
        _LENGTH.pack_into(buffer, _LENGTH_AT, len(buffer) - _COUNTED_FROM)
        _TIMES.pack_into(buffer, _TIMES_AT, self.count - 1, self._first_ms, self._last_ms)
        _COUNT.pack_into(buffer, _COUNT_AT, self.count)
        return buffer

    def abandon(self, share: Share, error: EvermqError) -> None:
        """Nobody waits for this share any more."""
        share.error = error
        self._abandoned += 1

    def again(self, *, apart: bool) -> list[LaneBatch]:
        """What is awaited of this batch, in new ones, which take its place; apart: one append a batch."""
        return self._anew(self.count, apart=apart)

    def halves(self) -> list[LaneBatch]:
        """What is awaited of this batch, in new ones, which take its place, with half of its records at most."""
        return self._anew(-(-self.count // 2), apart=False)

    def _anew(self, cut: int, *, apart: bool) -> list[LaneBatch]:
        """cut: the record with which a new batch begins."""
        self.settled = True
        batches: list[LaneBatch] = []
        for share in self.shares:
            ticket = share.ticket
            if share.error is None:
                ticket.shares.remove(share)
                here = min(max(0, cut - share.first), len(share.rows))
                put(batches, self.lane, ticket, share.rows[:here])
                if batches and share.first + here == cut:
                    batches[-1].is_open = False
                put(batches, self.lane, ticket, share.rows[here:])
                ticket.left -= 1
                batches[-1].is_open &= not apart
            else:
                ticket.settled()
        if batches:
            batches[-1].is_open = False
        return batches

    def without_times(self) -> list[LaneBatch]:
        """What is awaited of this batch, in new ones whose records have no times."""
        for share in self.shares:
            share.ticket.leave_out_times()
        return self.again(apart=False)

    def appended(self, base: int) -> None:
        """All its records are; base: offset of the first, -1 where brokers did not say."""
        for share in self.shares:
            if share.error is None:
                share.base = base + share.first if base >= 0 else -1
        self._settle()

    def failed(self, kind: type[EvermqError], said: str) -> None:
        """Not appended; uncertain where an earlier attempt may have landed."""
        for share in self.shares:
            if share.error is None:
                share.error = Uncertain(said) if self.uncertain else kind(said)
        self._settle()

    def _settle(self) -> None:
        self.settled = True
        self.payload = self._builder = None
        self._buffer = bytearray()  # the payload is large, and positions may be kept for long
        for share in self.shares:
            share.ticket.settled()

    def _begin(self) -> None:
        """An empty builder, and its buffer, which goes on growing: so its checksum, which is slow, is not needed."""
        self._builder = DefaultRecordBatchBuilder(2, self._compression, 0, -1, -1, 0, self._bytes_max)
        self._buffer = bytearray() if self._compression else self._builder.build()

    def _encode_again(self) -> None:
        """Without what was begun and not taken."""
        self._begin()
        self.count = 0
        for share in self.shares:
            self.count += self._fill(share.ticket, share.rows)

    def _fill(self, ticket: Ticket, rows: Sequence[int]) -> int:
        append, first = self._builder.append, self.count
        taken = _fill_plain(append, ticket, rows, first) if ticket.plain else _fill(append, ticket, rows, first)
        if taken == 1 and not first and self._builder.size() > ticket.bytes_max:
            id = ticket.columns.ids[rows[0]]
            raise TooLarge(f"message {id}: as a record it is over max.message.bytes of the topic")
        return taken


def put(batches: MutableSequence[LaneBatch], lane: int, ticket: Ticket, rows: Sequence[int]) -> None:
    """Put messages at the end of these batches of their lane: in the last, where that is open, and in new ones."""
    while rows:
        if not batches or not batches[-1].is_open:
            batches.append(LaneBatch(lane, ticket.batch_bytes, ticket.compression))
        rows = rows[batches[-1].add(ticket, rows) :]


def _fill_plain(append: Append, ticket: Ticket, rows: Sequence[int], first: int) -> int:
    """Records without headers of their own, numbered from `first` on; returns how many there was room for."""
    ids, keys, bodies, _, created = ticket.columns
    number = first
    for row in rows:
        id = ids[row]
        value = id.encode() if id.isascii() else id.encode("utf-8", "surrogateescape")
        if append(number, created[row], keys[row], bodies[row], [(ID, value)]) is None:
            break
        number += 1
    return number - first


def _fill(append: Append, ticket: Ticket, rows: Sequence[int], first: int) -> int:
    number = first
    for row in rows:
        if append(number, *record_of(ticket.messages[row], ticket.stamp_ms)) is None:
            break
        number += 1
    return number - first
