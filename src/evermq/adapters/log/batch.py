"""From append calls to the entries of one group: lanes are chosen, columns encoded, offsets come last.

A batch of some size is encoded by the caller, before it waits; small ones are encoded together by whoever has the
turn, since a group of 256 single messages costs hardly more than one message.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from typing import overload

from evermq.adapters.log.buffers import Buffers
from evermq.adapters.log.columns import Columns, encode, encode_one, transpose
from evermq.adapters.log.frame import SHARES, Kind, Part, Piece
from evermq.errors import EvermqError, Rejected, Uncertain
from evermq.lanes import lane_of
from evermq.message import DELIVER_AT, NO_HEADERS, Message, due_ms
from evermq.position import Position, Run

__all__ = ["DELAY_LANE", "DUE_LANE", "Batch", "Load", "Placed", "TopicLanes", "assemble", "due_times", "load"]
__all__ += ["is_plain", "piece_of"]

DELAY_LANE = 0xFFFF_FFFF  # messages that wait for their time
DUE_LANE = 0xFFFF_FFFE  # which of those were moved to their lanes
_NOWHERE: tuple[str, ...] = ()
_new_piece = partial(tuple.__new__, Piece)
_new_position = partial(tuple.__new__, Position)
_NOT_A_MESSAGE = (TypeError, AttributeError, OverflowError, ValueError, struct.error)


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
    """Messages of one topic, encoded. `lanes`: of each message, None if all are in one. `bases`: the first offset in
    each lane, known once the group is made."""

    __slots__ = ("_borrowed", "_buffers", "_placed", "bases", "lanes", "parts", "size", "topic")

    def __init__(self, topic: TopicLanes, buffers: Buffers, lanes: Sequence[int] | None = None) -> None:
        self.topic = topic
        self.lanes = lanes
        self.parts: list[tuple[int, int, int, int, Sequence[Part], int]] = []  # lane, kind, flags, count, buffers, size
        self.bases: dict[int, int] = {}
        self.size = 0
        self._buffers = buffers
        self._borrowed: list[bytearray] = []
        self._placed: list[Position] | None = None

    def add(self, lane: int, kind: int, count: int, buffers: list[Part]) -> None:
        """The next entry."""
        size = sum(map(len, buffers))
        self.parts.append((lane, kind, 0, count, buffers, size))
        self.size += size

    def add_shared(self, counts: Sequence[tuple[int, int]], buffers: list[Part]) -> None:
        """The next entries, (lane, count) each, of messages that are encoded together."""
        for lane, count in counts[:-1]:
            self.parts.append((lane, Kind.MESSAGES, SHARES, count, (), 0))
        self.add(counts[-1][0], Kind.MESSAGES, counts[-1][1], buffers)

    def take(self, size: int) -> bytearray:
        """Memory to encode into, until `give_back`."""
        buffer = self._buffers.take(size)
        self._borrowed.append(buffer)
        return buffer

    def give_back(self) -> None:
        """It was written, or never will be: only `positions` is asked from now on; again is harmless."""
        for buffer in self._borrowed:
            self._buffers.give(buffer)
        self._borrowed = []

    def positions(self, start: int, stop: int) -> Sequence[Position]:
        """Where the messages from `start` to `stop` landed."""
        if self.lanes is None:
            lane = self.parts[0][0]
            return Run(self.topic.names[lane], self.bases[lane] + start, stop - start)
        return Placed(self, start, stop)

    @property
    def count(self) -> int:
        """How many messages."""
        return sum(part[3] for part in self.parts)

    def every_position(self) -> Iterable[Position]:
        """Where each message landed."""
        if self.lanes is not None:
            return self.placed
        lane, _, _, count, _, _ = self.parts[0]
        base = self.bases[lane]
        offsets = range(base, base + count)
        return map(_new_position, zip(repeat(self.topic.names[lane]), offsets, repeat(_NOWHERE), strict=False))

    @property
    def placed(self) -> list[Position]:
        """Where each message landed, if they went to several lanes."""
        if self._placed is None:
            names, ends, placed = self.topic.names, dict(self.bases), []
            for lane in self.lanes or ():
                placed.append(Position(names[lane], ends[lane]))
                ends[lane] += 1
            self._placed = placed
        return self._placed


class Placed(Sequence[Position]):
    """Positions of messages that went to several lanes, worked out when somebody looks."""

    __slots__ = ("_load", "_span")

    def __init__(self, load: Load, start: int, stop: int) -> None:
        self._load = load
        self._span = slice(start, stop)

    def __len__(self) -> int:
        return self._span.stop - self._span.start

    def __iter__(self) -> Iterator[Position]:
        return iter(self._load.placed[self._span])

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> list[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | list[Position]:
        return self._load.placed[self._span][index]


class Batch:
    """One append call on its way: encoded (`load`) or not yet. `outcome`: set when its group was made."""

    __slots__ = ("load", "messages", "outcome", "size", "topic")

    def __init__(self, topic: TopicLanes, messages: Sequence[Message], size: int, load: Load | None = None) -> None:
        self.topic = topic
        self.messages = messages
        self.size = size
        self.load = load
        self.outcome: Sequence[Position] | EvermqError | None = None

    def result(self) -> Sequence[Position]:
        """The positions, or the error is raised."""
        outcome = self.outcome
        if outcome is None:
            raise Uncertain("the append was given up before its outcome was known")
        if isinstance(outcome, EvermqError):
            raise outcome.with_traceback(None)
        return outcome


def is_plain(messages: Sequence[Message]) -> bool:
    """Whether it is a single message that need not wait for its time."""
    if len(messages) != 1:
        return False
    headers = messages[0][3]
    return not headers or DELIVER_AT not in headers


def due_times(headers: Sequence[Mapping[str, str]]) -> list[int]:
    """When each message may be delivered (0: at once); empty if none has the header.

    Raises Rejected where the header is not a whole number.
    """
    if headers.count(NO_HEADERS) == len(headers) or not any(DELIVER_AT in each for each in headers):
        return []
    return list(map(due_ms, headers))


def load(
    topic: TopicLanes, messages: Sequence[Message], now_ms: int, buffers: Buffers, moved: Iterable[int] | None = None
) -> Load:
    """Encode messages of one topic. moved: the offsets of the delay lane that they come from.

    Raises Rejected where one of them is not a message that can be stored.
    """
    try:
        columns = transpose(messages)
        dues = due_times(columns[3])
        late = [due > now_ms for due in dues] if dues and moved is None else []
        keys = columns[1]
        if any(late) or (topic.lanes > 1 and keys.count(None) != len(keys)):
            made = _scatter(topic, columns, late, buffers)
        else:
            made = Load(topic, buffers)
            made.add(topic.next_lane(), Kind.MESSAGES, len(keys), encode(columns, made.take))
    except _NOT_A_MESSAGE as error:
        raise Rejected(f"a message cannot be stored: {error}") from error
    if moved is not None:
        offsets = array("Q", moved)
        made.add(DUE_LANE, Kind.DUE, len(offsets), [offsets.tobytes()])
    return made


def piece_of(topic: TopicLanes, message: Message, end: Mapping[tuple[int, int], int]) -> Piece:
    """The one entry of a message that goes alone and need not wait. Raises Rejected."""
    number, key = topic.number, message[1]
    try:
        encoded = encode_one(message)
        lane = topic.next_lane() if key is None else lane_of(key, topic.lanes)
    except _NOT_A_MESSAGE as error:
        raise Rejected(f"a message cannot be stored: {error}") from error
    offset = end.get((number, lane), 0)
    return _new_piece((number, lane, Kind.MESSAGES, 0, 1, offset, (encoded,), len(encoded)))


def _scatter(topic: TopicLanes, columns: Columns, late: list[bool], buffers: Buffers) -> Load:
    """Keyed messages, each to the lane of its key; those without one to the next lane; early ones to wait."""
    spare = topic.next_lane()
    count = topic.lanes
    lanes = [spare if key is None else lane_of(key, count) for key in columns[1]]
    if late:
        lanes = [DELAY_LANE if wait else lane for wait, lane in zip(late, lanes, strict=True)]
    order = sorted(range(len(lanes)), key=lanes.__getitem__)
    made = Load(topic, buffers, lanes)
    counts = sorted(Counter(lanes).items())
    if counts[-1][0] == DELAY_LANE:
        early = counts.pop()[1]
        part = _rows(columns, order[-early:])
        del order[-early:]
        made.add(DELAY_LANE, Kind.DELAYED, early, [array("q", due_times(part[3])).tobytes(), *encode(part, made.take)])
    if counts:
        made.add_shared(counts, encode(_rows(columns, order), made.take))
    return made


def _rows(columns: Columns, order: list[int]) -> Columns:
    return tuple([[column[row] for row in order] for column in columns])  # type: ignore[return-value]


def assemble(
    batches: list[Batch], end: Mapping[tuple[int, int], int], now_ms: int, buffers: Buffers
) -> tuple[list[Piece], list[Load]]:
    """The entries of one group, and the loads behind them; sets the outcome of each batch to the positions it will
    have.

    end: the next offset of each lane. A batch that cannot be encoded is told so, and does not disturb the others.
    """
    ends: dict[tuple[int, int], int] = {}
    pieces: list[Piece] = []
    loads: list[Load] = []
    encoded = [batch for batch in batches if batch.load]
    for batch in encoded:
        made = batch.load
        assert made
        loads.append(made)
        _place(made, ends, end, pieces)
        batch.outcome = made.positions(0, len(batch.messages))
    small = [batch for batch in batches if not batch.load] if encoded else batches
    for together in _by_topic(small):
        joined = _load_together(together, now_ms, buffers)
        if joined:
            loads.append(joined)
            _place(joined, ends, end, pieces)
            _tell_apart(joined, together)
    return pieces, loads


def _by_topic(batches: list[Batch]) -> Iterable[list[Batch]]:
    topics = {batch.topic.number for batch in batches}
    if len(topics) == 1:
        return [list(batches)]
    return [[batch for batch in batches if batch.topic.number == number] for number in sorted(topics)]


def _place(
    made: Load, ends: dict[tuple[int, int], int], end: Mapping[tuple[int, int], int], pieces: list[Piece]
) -> None:
    number = made.topic.number
    for lane, kind, flags, count, buffers, size in made.parts:
        key = (number, lane)
        base = ends.get(key)
        if base is None:
            base = end.get(key, 0)
        ends[key] = base + count
        made.bases[lane] = base
        pieces.append(_new_piece((number, lane, kind, flags, count, base, buffers, size)))


def _load_together(small: list[Batch], now_ms: int, buffers: Buffers) -> Load | None:
    """Batches of one topic as one load; those that cannot be stored are told so and taken out of `small`."""
    topic = small[0].topic
    try:
        return load(topic, _all_messages(small), now_ms, buffers)
    except Rejected:
        small[:] = [batch for batch in small if not _reject_if_bad(batch, now_ms)]
        return load(topic, _all_messages(small), now_ms, buffers) if small else None


def _tell_apart(made: Load, batches: list[Batch]) -> None:
    if made.count == len(batches):
        for batch, placed in zip(batches, zip(made.every_position(), strict=False), strict=True):
            batch.outcome = placed
        return
    at = 0
    for batch in batches:
        stop = at + len(batch.messages)
        batch.outcome = made.positions(at, stop)
        at = stop


def _all_messages(batches: list[Batch]) -> Sequence[Message]:
    if len(batches) == 1:
        return batches[0].messages
    return list(chain.from_iterable([batch.messages for batch in batches]))


def _reject_if_bad(batch: Batch, now_ms: int) -> bool:
    try:
        load(batch.topic, batch.messages, now_ms, Buffers(0))
    except Rejected as error:
        batch.outcome = error
    return batch.outcome is not None
