"""A membership over a consumer and a coordinator that are played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from queue import Empty, SimpleQueue
from typing import Any, cast

from confluent_kafka import TopicPartition

from evermq.adapters.kafka.generation import Generation
from evermq.adapters.kafka.membership import Membership
from evermq.adapters.kafka.offsets import Committed
from evermq.adapters.kafka.reader import KafkaReader
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM
from evermq.errors import EvermqError
from evermq.message import MessageFactory
from evermq.port import Delivery

make = MessageFactory()
TOPIC = Topic("orders", "id", 1, 1, {})
LIMIT_S = 15  # of a hand-over that would take four times as long
SETTINGS = Settings(bootstrap="nowhere:1", handover_ms_max=4_000 * LIMIT_S)
COUNT = 5


class Consumer:
    """What the broker makes of the group happens while the consumer is asked for records, as it does in Kafka's."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.is_assigned = self.is_closed = self.is_handing_over = False
        self.late: list[str] = []
        self.joins = True
        self.bounds = (0, COUNT)
        self.assigned: list[int] = []

    def subscribe(self, topics: Sequence[str], **on: Any) -> None:
        self._on = on
        if self.joins:
            self.events.put(self._assign)

    def unsubscribe(self) -> None:
        self._look("unsubscribe")
        if self.is_assigned:
            self.events.put(lambda: None)  # it takes a while
            self.events.put(self._revoke)

    def consume(self, count: int, timeout_s: float) -> list[Any]:
        self._look("consume")
        self._happen(timeout_s)
        return []

    def poll(self, timeout_s: float) -> None:
        self._look("poll")
        self._happen(timeout_s)

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(TOPIC.name, each.partition, 0) for each in partitions]

    def consumer_group_metadata(self) -> bytes:
        self._look("metadata")
        return b"CGMDv2:\x07\x00\x00\x00billing\x00member-1\x00\x01"

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._look("assign")
        self.assigned += [each.offset for each in partitions]

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None: ...

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return self.bounds

    def memberid(self) -> str:
        return "" if self.joins else "member-1"

    def pause(self, partitions: list[TopicPartition]) -> None: ...
    def resume(self, partitions: list[TopicPartition]) -> None: ...

    def close(self) -> None:
        self._look("close")
        self.is_closed = True

    def rebalance(self) -> None:
        """The lane is to go to another process."""
        self.events.put(self._revoke)

    def _happen(self, timeout_s: float) -> None:
        try:
            event = self.events.get(timeout=timeout_s) if timeout_s else self.events.get_nowait()
        except Empty:
            return
        event()

    def _assign(self) -> None:
        self.is_assigned = True
        self._on["on_assign"](self, [TopicPartition(TOPIC.name, 0)])

    def _revoke(self) -> None:
        if self.is_assigned:
            self.is_handing_over = True
            self._on["on_revoke"](self, [TopicPartition(TOPIC.name, 0)])
            self.is_assigned = self.is_handing_over = False

    def _look(self, call: str) -> None:
        if self.is_closed:
            self.late.append(call)


@asynccontextmanager
async def within_limit() -> AsyncIterator[None]:
    async with asyncio.timeout(LIMIT_S):
        yield


class Coordinator:
    """What it heard of members: that they left, and what they have done."""

    def __init__(self) -> None:
        self.gone: list[tuple[str, str]] = []
        self.commits: list[tuple[int, str]] = []
        self.generations: list[Generation] = []
        self.codes: list[int | EvermqError] = []  # of the next commits that do not go well
        self.is_committing = False
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    async def commit_as(self, generation: Generation, group: str, topic: str, offsets: dict[int, Committed]) -> int:
        self.is_committing = True
        await self.may_commit.wait()
        self.generations.append(generation)
        if self.codes:
            code = self.codes.pop(0)
            if isinstance(code, EvermqError):
                raise code
            return code
        self.commits += offsets.values()
        return 0

    async def leave(self, group: str, member: str) -> None:
        self.gone.append((group, member))


async def look(topic: Topic) -> Topic:
    """It is the very same."""
    return topic


def membership_of(settings: Settings = SETTINGS) -> Membership:
    coordinator: Any = Coordinator()
    return Membership(settings, TOPIC, look, "billing", {}, coordinator)


def coordinator_of(membership: Membership) -> Coordinator:
    return cast(Coordinator, membership._offsets)


async def opened() -> tuple[Membership, Any, KafkaReader]:
    membership = membership_of()
    await membership.open()
    reader = KafkaReader(membership, SYSTEM)
    membership.group.lanes[0].add([(offset, make(b"%d" % offset)) for offset in range(COUNT)])
    return membership, membership._consumer, reader


async def read(reader: KafkaReader, count: int = COUNT) -> list[Delivery]:
    return await reader.read(count_max=count, wait_ms=0)
