"""From append calls to the entries of one group: lanes are chosen, columns encoded, offsets come last.

A batch of some size is encoded by the caller, before it waits; small ones are encoded together by whoever has the
turn, since a group of 256 single messages costs hardly more than one message.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

from evermq.adapters.log.buffers import Buffers
from evermq.adapters.log.columns import Columns, encode, encode_many, encode_one, transpose
from evermq.adapters.log.frame import Kind, Piece
from evermq.adapters.log.load import DELAY_LANE, DUE_LANE, Load, TopicLanes
from evermq.adapters.plain import unstorable, why_not
from evermq.batch import TURNED_AT_ONCE
from evermq.batch import Batch as MessageBatch
from evermq.errors import Closed, EvermqError, Rejected, TooLarge, Uncertain
from evermq.lanes import lane_of
from evermq.message import DELIVER_AT, NO_HEADERS, Message, due_ms
from evermq.position import Position

__all__ = ["NOT_A_MESSAGE", "Batch", "assemble", "check_dropped", "due_times", "encode_alone", "fail_all", "load"]
__all__ += ["check_sizes", "rejected"]

_new_piece = partial(tuple.__new__, Piece)
NOT_A_MESSAGE = (TypeError, AttributeError, LookupError, OverflowError, ValueError, struct.error)


class Batch:
    """One append call on its way: encoded (`load`) or not yet. `outcome`: set when its group was made."""

    __slots__ = ("load", "messages", "outcome", "size", "topic")

    def __init__(self, topic: TopicLanes, messages: Sequence[Message], size: int, load: Load | None = None) -> None:
        self.topic = topic
        self.messages = messages
        self.size = size
        self.load = load
        self.outcome: Sequence[Position] | EvermqError | None = None

    def settle(self, positions: Sequence[Position]) -> None:
        """Where its messages will be once the group is written."""
        self.outcome = positions

    def fail(self, error: EvermqError) -> None:
        """What became of it, unless an error is known already."""
        if not isinstance(self.outcome, EvermqError):
            self.outcome = error

    def calls(self) -> Sequence[Batch]:
        """Each append call in it."""
        return (self,)

    def result(self) -> Sequence[Position]:
        """The positions, or the error is raised."""
        outcome = self.outcome
        if outcome is None:
            raise Uncertain("the append was given up before its outcome was known")
        if isinstance(outcome, EvermqError):
            raise outcome.with_traceback(None)
        return outcome


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
        many = _load_many(topic, messages, buffers) if moved is None else None
        if many:
            return many
        columns = transpose(messages)
        dues = due_times(columns[3])
        late = [due > now_ms for due in dues] if dues and moved is None else []
        keys = columns[1]
        if any(late) or (topic.lanes > 1 and keys.count(None) != len(keys)):
            made = _scatter(topic, columns, late, buffers)
        else:
            made = Load(topic, buffers)
            made.add(topic.next_lane(), Kind.MESSAGES, len(keys), encode(columns, made.take))
    except (EvermqError, MemoryError):
        raise
    except Exception as error:  # as in `encode_alone`
        raise rejected(messages, error) from error
    if moved is not None:
        offsets = array("Q", moved)
        made.add(DUE_LANE, Kind.DUE, len(offsets), [offsets.tobytes()])
    return made


def _load_many(topic: TopicLanes, messages: Sequence[Message], buffers: Buffers) -> Load | None:
    """Thousands of messages that need no look at each: None where there are fewer, or some have keys or headers."""
    if len(messages) <= TURNED_AT_ONCE or isinstance(messages, MessageBatch):
        return None
    made = Load(topic, buffers)
    encoded = encode_many(messages, made.take)
    if encoded:
        made.add(topic.next_lane(), Kind.MESSAGES, len(messages), encoded)
    return made if encoded else None


def encode_alone(topic: TopicLanes, message: Message) -> tuple[int, bytes]:
    """The lane of a message that goes alone, and its bytes there; none where it has a time to wait for. Raises
    Rejected."""
    try:
        _, key, _, headers, _ = message
        if headers and DELIVER_AT in headers:
            return 0, b""
        return (topic.next_lane() if key is None else lane_of(key, topic.lanes)), encode_one(message)
    except (EvermqError, MemoryError):
        raise
    except Exception as error:  # of an object of the caller's own, perhaps: nothing was written
        raise rejected([message], error) from error


def rejected(messages: Sequence[Message], error: Exception) -> Rejected:
    """With the message and the field, where that can be told."""
    return next((why for message in messages if (why := why_not(message, encode_one))), unstorable(error))


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
    if any(batch.topic.dropped for batch in batches):
        batches = [batch for batch in batches if not _fail_if_dropped(batch)]
    encoded = [batch for batch in batches if batch.load]
    for batch in encoded:
        made = batch.load
        assert made
        loads.append(made)
        _place(made, ends, end, pieces)
        batch.settle(made.positions(0, len(batch.messages)))
    small = [batch for batch in batches if not batch.load] if encoded else batches
    for together in _by_topic(small):
        joined = _load_together(together, now_ms, buffers)
        if joined:
            loads.append(joined)
            _place(joined, ends, end, pieces)
            _tell_apart(joined, together)
    return pieces, loads


def check_sizes(messages: Sequence[Message], *, bytes_max: int, batch_bytes_max: int) -> None:
    """Raise TooLarge for a message or a batch that is over the limit."""
    sizes = [len(message[2]) for message in messages]
    if max(sizes) > bytes_max:
        raise TooLarge(f"a message of {max(sizes)} bytes is over message_bytes_max = {bytes_max}")
    size = sum(sizes)
    if size > batch_bytes_max:
        raise TooLarge(f"a batch of {size} bytes is over the limit of {batch_bytes_max}: append it in parts")


def check_dropped(topic: TopicLanes) -> None:
    """Raise Closed where nothing of a topic is written any more."""
    if topic.dropped:
        raise Closed("the topic was dropped while this append waited, and nothing was written: create it again")


def _fail_if_dropped(batch: Batch) -> bool:
    try:
        check_dropped(batch.topic)
    except Closed as error:
        batch.fail(error)
    return batch.topic.dropped


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
        small[:] = [call for batch in small for call in batch.calls() if not _reject_if_bad(call, now_ms)]
        return load(topic, _all_messages(small), now_ms, buffers) if small else None


def _tell_apart(made: Load, batches: list[Batch]) -> None:
    at = 0
    for batch in batches:
        stop = at + len(batch.messages)
        batch.settle(made.positions(at, stop))
        at = stop


def _all_messages(batches: list[Batch]) -> Sequence[Message]:
    return list(chain.from_iterable([batch.messages for batch in batches]))


def _reject_if_bad(batch: Batch, now_ms: int) -> bool:
    try:
        load(batch.topic, batch.messages, now_ms, Buffers(0))
    except Rejected as error:
        batch.outcome = error
    return batch.outcome is not None


def fail_all(batches: Sequence[Batch], error: EvermqError) -> None:
    """Tell the callers of all of them; the error is to hold none of them."""
    for each in (error, error.__cause__):
        if each:
            each.__traceback__ = None  # its frames hold the batches, which are to hold it: files would stay open
    for batch in batches:
        batch.fail(error)
