"""Lanes as the sender sees them, and how those of one broker share requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka.structs import TopicPartition

from evermq.adapters.kafka.batch import LaneBatch, Ticket, put

__all__ = ["SenderLane", "requests"]

_REQUEST_BYTES_MAX = 256 << 10  # while one is answered, and what follows it is made, the broker has the next one


@dataclass(slots=True, eq=False)
class SenderLane:
    """One lane of one topic as the sender sees it. batch: the one whose turn it is. since_s: when the first one
    was tried that no answer followed, 0 after an answer; try_s: when what may go anywhere may try the lane again."""

    partition: TopicPartition
    waiting: deque[LaneBatch] = field(default_factory=deque)
    batch: LaneBatch | None = None
    producer_id: int = -1
    epoch: int = -1
    sequence: int = 0
    since_s: float = 0.0
    try_s: float = 0.0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.partition.topic}, lane {self.partition.partition}"

    def put(self, ticket: Ticket, rows: Sequence[int]) -> None:
        """Behind what waits, in the last batch; in one of its own where that has half of all that is under way: so
        brokers have something to do while callers whose appends have ended together make the next ones."""
        if self.batch and self.waiting:
            last = self.waiting[-1]
            shares = len(self.batch.shares) + sum([len(batch.shares) for batch in self.waiting])
            last.is_open &= 2 * len(last.shares) <= shares
        put(self.waiting, self.partition.partition, ticket, rows)

    def set_sent(self, sent: bool) -> None:
        """Whether an attempt at the batch is on its way."""
        if self.batch is not None:
            self.batch.sent = sent


def requests(lanes: Sequence[SenderLane]) -> Iterator[list[SenderLane]]:
    """Cut so that none that is large keeps the others waiting for its answer."""
    some: list[SenderLane] = []
    size = 0
    for lane in lanes:
        assert lane.batch
        size += lane.batch.size
        if some and size > _REQUEST_BYTES_MAX:
            yield some
            some, size = [], lane.batch.size
        some.append(lane)
    yield some
