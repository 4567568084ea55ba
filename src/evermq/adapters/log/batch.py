"""From append calls to the entries of one group: lanes are chosen, columns encoded, offsets come last.

A batch of some size is encoded by the caller, before it waits; small ones are encoded together by whoever has the
turn, since a group of 256 single messages costs hardly more than one message.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, overload

from evermq.adapters.log.columns import Columns, encode, transpose
from evermq.adapters.log.frame import Kind, Part, Piece
from evermq.errors import EvermqError, Rejected, Uncertain
from evermq.lanes import lane_of
from evermq.message import DELIVER_AT, NO_HEADERS, Message
from evermq.position import Position, Run

if TYPE_CHECKING:
    from evermq.adapters.log.ticket import Ticket

__all__ = ["DELAY_LANE", "DUE_LANE", "Batch", "Load", "Placed", "TopicLanes", "assemble", "due_times", "load"]

DELAY_LANE = 0xFFFF_FFFF  # messages that wait for their time
DUE_LANE = 0xFFFF_FFFE  # which of those were moved to their lanes
_NOT_A_MESSAGE = (TypeError, AttributeError, OverflowError, ValueError)


class TopicLanes:
    """What encoding needs to know of a topic. Messages without a key take the lanes in turn."""

    __slots__ = ("_turn", "lanes", "names", "number")

    def __init__(self, number: int, lanes: int) -> None:
        self.number = number
        self.lanes = lanes
        self.names = {**{lane: str(lane) for lane in range(lanes)}, DELAY_LANE: "delay"}
        self._turn = 0

    def next_lane(self) -> int:
        self._turn += 1
        return self._turn % self.lanes


class Load:
    """Messages of one topic, encoded: a part for each lane. `lanes`, `ranks`: of each message, None if all are in
    one lane. `bases`: the first offset of each part, known once the group is made."""

    __slots__ = ("bases", "lanes", "parts", "ranks", "size", "topic")

    def __init__(self, topic: TopicLanes, lanes: Sequence[int] | None = None, ranks: Sequence[int] = ()) -> None:
        self.topic = topic
        self.lanes = lanes
        self.ranks = ranks
        self.parts: list[tuple[int, int, int, list[Part], int]] = []  # lane, kind, count, buffers, their size
        self.bases: dict[int, int] = {}
        self.size = 0

    def add(self, lane: int, kind: int, count: int, buffers: list[Part]) -> None:
        size = sum(map(len, buffers))
        self.parts.append((lane, kind, count, buffers, size))
        self.size += size

    def positions(self, start: int, stop: int) -> Sequence[Position]:
        """Where the messages from `start` to `stop` landed."""
        names = self.topic.names
        if self.lanes is None:
            lane = self.parts[0][0]
            return Run(names[lane], self.bases[lane] + start, stop - start)
        return Placed(names, self.lanes[start:stop], self.ranks[start:stop], self.bases)


class Placed(Sequence[Position]):
    """Positions of messages that went to several lanes."""

    __slots__ = ("_bases", "_lanes", "_names", "_ranks")

    def __init__(
        self, names: dict[int, str], lanes: Sequence[int], ranks: Sequence[int], bases: dict[int, int]
    ) -> None:
        self._names = names
        self._lanes = lanes
        self._ranks = ranks
        self._bases = bases

    def __len__(self) -> int:
        return len(self._lanes)

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        lane = self._lanes[index]
        return Position(self._names[lane], self._bases[lane] + self._ranks[index])


class Batch:
    """One append call on its way: encoded (`load`) or not yet. `latch`: what a blocking caller waits for."""

    __slots__ = ("latch", "leads", "load", "messages", "outcome", "size", "ticket", "topic")

    def __init__(self, topic: TopicLanes, messages: Sequence[Message], size: int, load: Load | None = None) -> None:
        self.topic = topic
        self.messages = messages
        self.size = size
        self.load = load
        self.ticket: Ticket | None = None
        self.latch: Lock | None = None
        self.leads = False
        self.outcome: Sequence[Position] | EvermqError | None = None

    def result(self) -> Sequence[Position]:
        """The positions, or the error is raised."""
        if self.outcome is None:
            raise Uncertain("the append was given up before its outcome was known")
        if isinstance(self.outcome, EvermqError):
            raise self.outcome.with_traceback(None)
        return self.outcome


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


def load(topic: TopicLanes, messages: Sequence[Message], now_ms: int, moved: Iterable[int] | None = None) -> Load:
    """Encode messages of one topic. moved: the offsets of the delay lane that they come from.

    Raises Rejected where one of them is not a message that can be stored.
    """
    try:
        columns = transpose(messages)
        dues = due_times(columns[3])
        late = [due > now_ms for due in dues] if dues and moved is None else []
        keys = columns[1]
        if any(late) or (topic.lanes > 1 and keys.count(None) != len(keys)):
            made = _scatter(topic, columns, late)
        else:
            made = Load(topic)
            made.add(topic.next_lane(), Kind.MESSAGES, len(keys), encode(columns))
    except _NOT_A_MESSAGE as error:
        raise Rejected(f"a message cannot be stored: {error}") from error
    if moved is not None:
        offsets = array("Q", moved)
        made.add(DUE_LANE, Kind.DUE, len(offsets), [offsets.tobytes()])
    return made


def _scatter(topic: TopicLanes, columns: Columns, late: list[bool]) -> Load:
    """Keyed messages, each to the lane of its key; those without one to the next lane; early ones to wait."""
    spare = topic.next_lane()
    count = topic.lanes
    lanes = [spare if key is None else lane_of(key, count) for key in columns[1]]
    if late:
        lanes = [DELAY_LANE if wait else lane for wait, lane in zip(late, lanes, strict=True)]
    rows: dict[int, list[int]] = {}
    ranks = []
    for row, lane in enumerate(lanes):
        mine = rows.setdefault(lane, [])
        ranks.append(len(mine))
        mine.append(row)
    made = Load(topic, lanes, ranks)
    for lane, mine in rows.items():
        part = tuple([column[row] for row in mine] for column in columns)
        buffers = encode(part)  # type: ignore[arg-type]
        if lane == DELAY_LANE:
            buffers.insert(0, array("q", due_times(part[3])).tobytes())  # type: ignore[arg-type]
        made.add(lane, Kind.DELAYED if lane == DELAY_LANE else Kind.MESSAGES, len(mine), buffers)
    return made


def assemble(batches: list[Batch], end: Mapping[tuple[int, int], int], now_ms: int) -> list[Piece]:
    """The entries of one group; sets the outcome of each batch to the positions it will have.

    end: the next offset of each lane. A batch that cannot be encoded is told so, and does not disturb the others.
    """
    ends: dict[tuple[int, int], int] = {}
    pieces: list[Piece] = []
    together: dict[int, list[Batch]] = {}
    for batch in batches:
        if batch.load:
            _place(batch.load, ends, end, pieces)
            batch.outcome = batch.load.positions(0, len(batch.messages))
        else:
            together.setdefault(batch.topic.number, []).append(batch)
    for small in together.values():
        _place_together(small, ends, end, pieces, now_ms)
    return pieces


def _place(
    made: Load, ends: dict[tuple[int, int], int], end: Mapping[tuple[int, int], int], pieces: list[Piece]
) -> None:
    number = made.topic.number
    for lane, kind, count, buffers, size in made.parts:
        key = (number, lane)
        base = ends.get(key)
        if base is None:
            base = end.get(key, 0)
        ends[key] = base + count
        made.bases[lane] = base
        pieces.append(Piece(number, lane, kind, count, base, buffers, size))


def _place_together(
    small: list[Batch],
    ends: dict[tuple[int, int], int],
    end: Mapping[tuple[int, int], int],
    pieces: list[Piece],
    now_ms: int,
) -> None:
    topic = small[0].topic
    try:
        made = load(topic, list(chain.from_iterable([batch.messages for batch in small])), now_ms)
    except Rejected:
        small = [batch for batch in small if not _reject_if_bad(batch, now_ms)]
        if not small:
            return
        made = load(topic, list(chain.from_iterable([batch.messages for batch in small])), now_ms)
    _place(made, ends, end, pieces)
    at = 0
    for batch in small:
        stop = at + len(batch.messages)
        batch.outcome = made.positions(at, stop)
        at = stop


def _reject_if_bad(batch: Batch, now_ms: int) -> bool:
    try:
        load(batch.topic, batch.messages, now_ms)
    except Rejected as error:
        batch.outcome = error
    return batch.outcome is not None
