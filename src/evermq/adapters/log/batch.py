"""From waiting batches to the entries of one group: lanes are chosen, columns encoded, positions known."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, overload

from evermq.adapters.log.columns import Columns, encode, transpose
from evermq.adapters.log.frame import Kind, Piece
from evermq.errors import EvermqError, Rejected, TooLarge, Uncertain
from evermq.lanes import lane_of
from evermq.message import DELIVER_AT, NO_HEADERS, Message
from evermq.position import Position, Run

if TYPE_CHECKING:
    from evermq.adapters.log.committer import Ticket
    from evermq.adapters.log.journal import Journal

__all__ = ["DELAY_LANE", "DUE_LANE", "Batch", "Placed", "TopicLanes", "assemble", "due_times", "measure"]

DELAY_LANE = 0xFFFF_FFFF  # messages that wait for their time
DUE_LANE = 0xFFFF_FFFE  # which of those were moved to their lanes

_body_of = itemgetter(2)


@dataclass(slots=True)
class TopicLanes:
    """What assembling needs to know of a topic. `turn`: messages without a key take the lanes in turn."""

    number: int
    lanes: int
    names: dict[int, str]
    turn: int = 0

    def next_lane(self) -> int:
        self.turn += 1
        return self.turn % self.lanes


@dataclass(slots=True)
class Batch:
    """One append call on its way. `moved`: offsets of the delay lane that these messages come from."""

    topic: TopicLanes
    messages: Sequence[Message]
    size: int
    ticket: Ticket | None = None
    latch: Lock | None = None
    leads: bool = False
    moved: Sequence[int] = ()
    outcome: Sequence[Position] | EvermqError | None = None

    def result(self) -> Sequence[Position]:
        """The positions, or the error is raised."""
        if self.outcome is None:
            raise Uncertain("the append was given up before its outcome was known")
        if isinstance(self.outcome, EvermqError):
            raise self.outcome.with_traceback(None)
        return self.outcome


class Placed(Sequence[Position]):
    """Positions of messages that went to several lanes."""

    __slots__ = ("_lanes", "_names", "_offsets")

    def __init__(self, names: dict[int, str], lanes: Sequence[int], offsets: Sequence[int]) -> None:
        self._names = names
        self._lanes = lanes
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._lanes)

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        if isinstance(index, slice):
            pairs = zip(self._lanes[index], self._offsets[index], strict=True)
            return [Position(self._names[lane], offset) for lane, offset in pairs]
        return Position(self._names[self._lanes[index]], self._offsets[index])


def measure(messages: Sequence[Message], message_bytes_max: int, batch_bytes_max: int) -> int:
    """The bytes of the bodies of a batch. Raises TooLarge, Rejected where a body is no bytes."""
    try:
        sizes = list(map(len, map(_body_of, messages)))
    except TypeError as error:
        raise Rejected(f"a message's body is not bytes: {error}") from error
    size = sum(sizes)
    if max(sizes) > message_bytes_max:
        raise TooLarge(f"a message of {max(sizes)} bytes is over message_bytes_max = {message_bytes_max}")
    if size > batch_bytes_max:
        raise TooLarge(f"a batch of {size} bytes is over the limit of {batch_bytes_max}: append it in parts")
    return size


def due_times(headers: Sequence[Mapping[str, str]]) -> list[int]:
    """When each message may be delivered (0: at once); empty if none has the header.

    Raises Rejected where the header is not a whole number.
    """
    if headers.count(NO_HEADERS) == len(headers) or not any(DELIVER_AT in each for each in headers):
        return []
    return [_due_time(each.get(DELIVER_AT, "0")) for each in headers]


def _due_time(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Rejected(f"header {DELIVER_AT} is {text!r}: give milliseconds since 1970 as a whole number") from error


def assemble(batches: list[Batch], journal: Journal, now_ms: int) -> list[Piece]:
    """The entries of one group; sets the outcome of each batch to the positions it will have.

    A batch that cannot be encoded is told so, and does not disturb the others.
    """
    pieces: list[Piece] = []
    by_topic: dict[int, list[Batch]] = {}
    for batch in batches:
        by_topic.setdefault(batch.topic.number, []).append(batch)
    for same_topic in by_topic.values():
        try:
            pieces += _pieces(same_topic, journal, now_ms)
        except (Rejected, TypeError, AttributeError, OverflowError, ValueError):
            good = [batch for batch in same_topic if not _reject_if_bad(batch)]
            if good:
                pieces += _pieces(good, journal, now_ms)
    return pieces


def _reject_if_bad(batch: Batch) -> bool:
    try:
        columns = transpose(batch.messages)
        due_times(columns[3])
        encode(columns)
    except Rejected as error:
        batch.outcome = error
    except (TypeError, AttributeError, OverflowError, ValueError) as error:
        batch.outcome = Rejected(f"a message cannot be encoded: {error}")
    return batch.outcome is not None


def _pieces(batches: list[Batch], journal: Journal, now_ms: int) -> list[Piece]:
    messages = batches[0].messages if len(batches) == 1 else [m for batch in batches for m in batch.messages]
    columns = transpose(messages)
    keys = columns[1]
    topic = batches[0].topic
    dues = due_times(columns[3])
    moved = [offset for batch in batches for offset in batch.moved]
    late = [due > now_ms for due in dues] if dues and not moved else []
    if any(late):
        pieces = _scatter(batches, topic, columns, late, journal)
    elif topic.lanes == 1 or keys.count(None) == len(keys):
        lane = topic.next_lane()
        pieces = [_piece(topic, lane, columns, journal)]
        _place_in_run(batches, topic.names[lane], pieces[0].offset)
    else:
        pieces = _scatter(batches, topic, columns, late, journal)
    if moved:
        due_offset = journal.end(topic.number, DUE_LANE)
        payload = (array("Q", moved).tobytes(),)
        pieces.append(Piece(topic.number, DUE_LANE, Kind.DUE, len(moved), due_offset, payload))
    return pieces


def _piece(topic: TopicLanes, lane: int, columns: Columns, journal: Journal) -> Piece:
    parts = encode(columns)
    kind = Kind.MESSAGES
    if lane == DELAY_LANE:
        kind = Kind.DELAYED
        parts.insert(0, array("q", due_times(columns[3])).tobytes())
    return Piece(topic.number, lane, kind, len(columns[0]), journal.end(topic.number, lane), parts)


def _place_in_run(batches: list[Batch], lane: str, offset: int) -> None:
    for batch in batches:
        count = len(batch.messages)
        batch.outcome = Run(lane, offset, count)
        offset += count


def _scatter(
    batches: list[Batch], topic: TopicLanes, columns: Columns, late: list[bool], journal: Journal
) -> list[Piece]:
    """Keyed messages, each to the lane of its key; those without one to the next lane; early ones to wait."""
    spare = topic.next_lane()
    count = topic.lanes
    lanes = [spare if key is None else lane_of(key, count) for key in columns[1]]
    if late:
        lanes = [DELAY_LANE if wait else lane for wait, lane in zip(late, lanes, strict=True)]
    members: dict[int, list[int]] = {}
    for i, lane in enumerate(lanes):
        members.setdefault(lane, []).append(i)
    pieces = []
    offsets = [0] * len(lanes)
    for lane, rows in members.items():
        pick = itemgetter(*rows) if len(rows) > 1 else _only(rows[0])
        piece = _piece(topic, lane, tuple(map(pick, columns)), journal)
        pieces.append(piece)
        for offset, row in enumerate(rows, piece.offset):
            offsets[row] = offset
    at = 0
    for batch in batches:
        stop = at + len(batch.messages)
        batch.outcome = Placed(topic.names, lanes[at:stop], offsets[at:stop])
        at = stop
    return pieces


def _only(row: int) -> itemgetter[slice]:
    return itemgetter(slice(row, row + 1))
