"""From messages to the entries of a batch: lanes are chosen, sizes checked, entries encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from evermq.adapters.redis.entry import encode, sizes
from evermq.adapters.redis.lane import Lane
from evermq.adapters.redis.options import RedisOptions
from evermq.adapters.redis.script import Packed, argument
from evermq.errors import TooLarge, Unsupported
from evermq.lanes import lane_of
from evermq.message import DELIVER_AT, Message, due_ms
from evermq.position import Position

__all__ = ["BATCH_COUNT_MAX", "DELAY_MS_MAX", "Batch", "Item", "Landed", "assemble"]

BATCH_COUNT_MAX = 65_536
DELAY_MS_MAX = 10 * 365 * 86_400_000
_HEADS = b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n"


@dataclass(slots=True)
class Item:
    """One entry on its way. rows: which messages of the batch it holds. due_ms: 0 for now."""

    rows: Sequence[int]
    due_ms: int
    entry: bytes


@dataclass(slots=True)
class Batch:
    """Entries by lane."""

    lanes: list[Lane] = field(default_factory=list)
    items: list[list[Item]] = field(default_factory=list)

    def packed(self) -> list[Packed]:
        """What lua/append.lua is told of each lane."""
        return [(1 + 3 * len(items), _packed(items)) for items in self.items]


class Landed(Sequence[Position]):
    """Where the messages of a batch landed, worked out when somebody looks."""

    __slots__ = ("_batch", "_count", "_positions", "_replies")

    def __init__(self, count: int, batch: Batch, replies: Sequence[Any]) -> None:
        self._count = count
        self._batch = batch
        self._replies = replies
        self._positions: list[Position] = []

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        if not self._positions:
            self._look()
        return self._positions[index]

    def _look(self) -> None:
        self._positions = [Position("", None)] * self._count
        for lane, items, reply in zip(self._batch.lanes, self._batch.items, self._replies, strict=True):
            for item, base in zip(items, reply if isinstance(reply, list) else (), strict=False):
                name = f"{lane.name}.delay" if item.due_ms else lane.name
                for rank, row in enumerate(item.rows):
                    self._positions[row] = Position(name, base + rank)


def _packed(items: Sequence[Item]) -> list[bytes]:
    """How many entries, and of each: messages in it, when due, the entry itself."""
    parts = argument(len(items))
    for item in items:
        count, due = b"%d" % len(item.rows), b"%d" % item.due_ms
        parts += (_HEADS % (len(count), count, len(due), due, len(item.entry)), item.entry, b"\r\n")
    return parts


def _checked(messages: Sequence[Message], options: RedisOptions, now_ms: int) -> tuple[list[int], list[int]]:
    """Size and due time (0: now) of each message. Raises Rejected where the batch cannot be taken as it is."""
    if len(messages) > BATCH_COUNT_MAX:
        raise TooLarge(f"a batch of {len(messages)} messages is over batch_count_max = {BATCH_COUNT_MAX}")
    found = sizes(messages)
    largest = max(found)
    if largest > options.message_bytes_max:
        wrong = messages[found.index(largest)]
        raise TooLarge(
            f"message {wrong.id} of {largest} bytes is over message_bytes_max = {options.message_bytes_max}: a redis "
            "keeps everything in memory, so put large bodies elsewhere and send a reference"
        )
    return found, [_due_ms(message, now_ms) if message[3] else 0 for message in messages]


def _due_ms(message: Message, now_ms: int) -> int:
    due = due_ms(message.headers)
    if due > now_ms + DELAY_MS_MAX:
        raise Unsupported(f"message {message.id}: {DELIVER_AT} is over {DELAY_MS_MAX} delay_ms_max from now")
    return due if due > now_ms else 0


def assemble(
    messages: Sequence[Message], spare: int, lanes: Sequence[Lane], options: RedisOptions, now_ms: int
) -> Batch:
    """The entries of a batch. spare: the lane of what has no key. Raises Rejected."""
    bytes_of, dues = _checked(messages, options, now_ms)
    batch = Batch()
    for number, rows in _by_lane(messages, spare, len(lanes)).items():
        batch.lanes.append(lanes[number])
        late = [Item([row], dues[row], encode([messages[row]], now_ms)) for row in rows if dues[row]]
        soon = [row for row in rows if not dues[row]] if late else rows
        batch.items.append([*_entries(messages, soon, bytes_of, options.entry_bytes, now_ms), *late])
    return batch


def _by_lane(messages: Sequence[Message], spare: int, count: int) -> dict[int, Sequence[int]]:
    keys = [message[1] for message in messages]
    if keys.count(None) == len(keys):
        return {spare: range(len(keys))}
    rows: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        number = spare if key is None else lane_of(key, count)
        found = rows.get(number)
        if found is None:
            rows[number] = [row]
        else:
            found.append(row)
    return dict(rows)


def _entries(
    messages: Sequence[Message], rows: Sequence[int], bytes_of: Sequence[int], bytes_max: int, now_ms: int
) -> Iterator[Item]:
    """One after the other up to the byte bound; a message over it goes alone."""
    start, size = 0, 0
    for at, row in enumerate(rows):
        if at > start and size + bytes_of[row] > bytes_max:
            yield _item(messages, rows[start:at], now_ms)
            start, size = at, 0
        size += bytes_of[row] + _OVERHEAD_BYTES
    if start < len(rows):
        yield _item(messages, rows[start:], now_ms)


_OVERHEAD_BYTES = 30  # id, time and lengths of a message, about


def _item(messages: Sequence[Message], rows: Sequence[int], now_ms: int) -> Item:
    some = messages[rows[0] : rows[-1] + 1] if rows[-1] - rows[0] == len(rows) - 1 else [messages[row] for row in rows]
    return Item(rows, 0, encode(some, now_ms))
