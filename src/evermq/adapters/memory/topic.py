"""One topic: its lanes, its groups and what waits for its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from evermq.adapters.memory.group import Group, Progress
from evermq.adapters.memory.lane import Lane
from evermq.clock import Clock
from evermq.errors import Overloaded, TooLarge, Unsupported
from evermq.fields import NOT_A_MESSAGE, refusal
from evermq.lanes import lane_of
from evermq.message import DELIVER_AT, Message, due_ms
from evermq.port import Start
from evermq.position import Position
from evermq.traits import Ack, Durable, Groups, Order, Traits

__all__ = ["Topic"]

_TEN_YEARS_MS = 10 * 365 * 86_400_000
_BATCH_COUNT_MAX = 65_536


@dataclass
class Topic:
    """Shared by all queues of the topic."""

    name: str
    lanes_count: int
    count_max: int
    message_bytes_max: int
    clock: Clock
    dropped: bool = False
    groups: dict[str, Group] = field(default_factory=dict)
    delayed: list[tuple[int, int, Message]] = field(default_factory=list)  # a heap by due time
    _delays_made: int = 0
    _turn: int = 0

    def __post_init__(self) -> None:
        self.lanes = [Lane(str(number)) for number in range(self.lanes_count)]
        self.traits = Traits(
            order=Order.KEY,
            ack=Ack.SINGLE,
            durable=Durable.MEMORY,
            groups=Groups.MANY,
            lanes=self.lanes_count,
            replay=True,
            delay_ms_max=_TEN_YEARS_MS,
            message_bytes_max=self.message_bytes_max,
            batch_count_max=_BATCH_COUNT_MAX,
        )

    def append(self, messages: Sequence[Message]) -> list[Position]:
        """All or nothing."""
        now_ms = self.clock.now_ms()
        dues = self._check(messages, now_ms)
        self._turn += any(message.key is None for message in messages)
        placed = [self._place(message, due, now_ms) for message, due in zip(messages, dues, strict=True)]
        self._wake()
        return placed

    def move_due(self) -> None:
        """Append to their lanes what is due by now."""
        now_ms = self.clock.now_ms()
        moved = False
        while self.delayed and self.delayed[0][0] <= now_ms:
            self._turn += 1
            self._add(heappop(self.delayed)[2], now_ms)
            moved = True
        if moved:
            self._wake()

    def group(self, name: str, start: Start) -> Group:
        """The group, made at `start` if it is new."""
        found = self.groups.get(name)
        if found is None:
            found = self.groups[name] = Group(name, [self._join(lane, start) for lane in self.lanes])
        return found

    def backlog(self, group: str, lane: int | None) -> int:
        """As Queue.backlog."""
        found = self.groups.get(group)
        counts = [each.unsettled for each in found.lanes] if found else [len(each.stored) for each in self.lanes]
        return sum(counts) + len(self.delayed) if lane is None else counts[lane]

    def oldest_ms(self, group: str) -> int | None:
        """When the oldest message that the group has not settled was appended."""
        times = [
            progress.lane.stored[offset].appended_ms
            for progress in self.groups[group].lanes
            for offset in (*progress.ready, *progress.out, *(o for p in progress.parks.values() for o in p.offsets))
        ]
        return min(times, default=None)

    def _join(self, lane: Lane, start: Start) -> Progress:
        match start.at:
            case "newest":
                first = lane.end
            case "offset":
                first = start.value
            case "time":
                first = lane.offset_at(start.value)
            case _:
                first = 0
        return Progress(lane, ready=list(lane.join(first)))

    def _place(self, message: Message, due_ms: int, now_ms: int) -> Position:
        if due_ms <= now_ms:
            return self._add(message, now_ms)
        position = Position("delay", self._delays_made)
        heappush(self.delayed, (due_ms, self._delays_made, message))
        self._delays_made += 1
        return position

    def _add(self, message: Message, now_ms: int) -> Position:
        number = self._turn % len(self.lanes) if message.key is None else lane_of(message.key, len(self.lanes))
        lane = self.lanes[number]
        offset = lane.add(message, now_ms, len(self.groups))
        for group in self.groups.values():
            heappush(group.lanes[number].ready, offset)
        return Position(lane.name, offset)

    def _wake(self) -> None:
        for group in self.groups.values():
            group.wake()

    def _check(self, messages: Sequence[Message], now_ms: int) -> list[int]:
        """The due time of each message. Raises where the batch cannot be taken as it is."""
        if len(messages) > _BATCH_COUNT_MAX:
            raise TooLarge(f"a batch of {len(messages)} messages is over batch_count_max = {_BATCH_COUNT_MAX}")
        try:
            dues = [self._check_message(message, now_ms) for message in messages]
        except NOT_A_MESSAGE as error:
            raise refusal(messages, error) from error
        kept = len(self.delayed) + sum(len(lane.stored) for lane in self.lanes)
        if kept + len(messages) > self.count_max:
            raise Overloaded(f"topic {self.name} keeps {kept} messages of count_max = {self.count_max}: settle some")
        return dues

    def _check_message(self, message: Message, now_ms: int) -> int:
        id, key, body, _, _ = message
        if not isinstance(body, bytes) or not (key is None or isinstance(key, bytes)) or not isinstance(id, str):
            raise refusal((message,), "id, body or key")
        texts = [text.encode(errors="surrogateescape") for item in message.headers.items() for text in item]
        size = sum(map(len, (message.body, message.key or b"", *texts)))
        if size > self.message_bytes_max:
            raise TooLarge(f"message {message.id} of {size} bytes is over {self.message_bytes_max} message_bytes_max")
        due = due_ms(message.headers)
        if due > now_ms + _TEN_YEARS_MS:
            raise Unsupported(f"message {message.id}: {DELIVER_AT} is over {_TEN_YEARS_MS} delay_ms_max from now")
        return due
