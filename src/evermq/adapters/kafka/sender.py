"""Carries batches to brokers: idempotent, in order per lane, with an outcome for each within a known time.

A lane has one batch on its way at a time; what one turn of the loop brings for several lanes of a broker goes in one
request, and requests for different lanes overlap. A request that fails in a way that may pass is sent again with the
same numbers, which lets the broker drop a second copy. Where the outcome of a batch stays open, its lane goes on under
a new producer id, so that numbers never collide with those of a batch that may yet land.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiokafka.errors as driver
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import TopicPartition
from confluent_kafka import KafkaError

from evermq.adapters.kafka.batch import LaneBatch
from evermq.adapters.kafka.errors import AGAIN, class_of, of_aiokafka
from evermq.adapters.kafka.settings import Settings
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, EvermqError, NoSuchTopic, Unavailable, Uncertain

__all__ = ["Sender"]

_BACKOFF_MS = 50
_SEQUENCES = 1 << 31
_DUPLICATE = KafkaError.DUPLICATE_SEQUENCE_NUMBER
# The broker does not know, or no longer knows, what the producer sent before.
_FORGOTTEN = (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID)


class _Ticket:
    """One append on its way. future: done when all its batches are settled."""

    def __init__(self, batches: Sequence[LaneBatch]) -> None:
        self.batches = batches
        self.left = len(batches)
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settled(self) -> None:
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(None)


class _Load(NamedTuple):
    """What a request carries for one lane."""

    lane: _Lane
    batch: LaneBatch
    ticket: _Ticket


@dataclass(slots=True, eq=False)
class _Lane:
    """One lane of one topic as the sender sees it."""

    partition: TopicPartition
    waiting: deque[_Load] = field(default_factory=deque)
    busy: bool = False
    producer_id: int = -1
    epoch: int = -1
    sequence: int = 0


class Sender:
    """Of one place; belongs to the loop that it was opened in."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._clock = clock
        self.client = AIOKafkaClient(**settings.aiokafka)
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._ready: dict[_Lane, None] = {}
        self._pushing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._identity: tuple[int, int] | None = None
        self._failure = ""

    async def open(self) -> None:
        """Connect. Raises Unavailable where no broker answers."""
        try:
            await self.client.bootstrap()
        except driver.KafkaError as error:
            raise of_aiokafka(error, f"kafka://{self._settings.bootstrap}") from None

    def watch(self, topic: str) -> None:
        """Keep the leaders of a topic at hand."""
        if not self._failure:
            self.client.add_topic(topic)

    async def send(self, topic: str, batches: Sequence[LaneBatch]) -> None:
        """Settle each of them: `base` or `error` is set when this returns, and when it is cancelled."""
        if self._failure:
            raise Closed(self._failure)
        loop = asyncio.get_running_loop()
        ticket = _Ticket(batches)
        for batch in batches:
            lane = self._lanes.get((topic, batch.lane))
            if lane is None:
                lane = self._lanes[topic, batch.lane] = _Lane(TopicPartition(topic, batch.lane))
            lane.waiting.append(_Load(lane, batch, ticket))
            if not lane.busy:
                self._ready[lane] = None
        self._push_soon()
        timer = loop.call_later(self._settings.send_ms_max / 1000, self._give_up, topic, ticket)
        try:
            await ticket.future
        finally:
            timer.cancel()
            if ticket.left:
                self._give_up(topic, ticket)

    async def close(self) -> None:
        """Settle what is on its way, then refuse everything."""
        self._failure = self._failure or "this place was closed: open another one"
        waiting: set[asyncio.Future[None]] = {
            load.ticket.future for each in self._lanes.values() for load in each.waiting
        }
        waiting |= self._tasks
        if waiting:
            await asyncio.wait(waiting, timeout=self._settings.send_ms_max / 1000)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    def _give_up(self, topic: str, ticket: _Ticket) -> None:
        """Time is over: what no broker was sent is certainly not appended, the rest is open."""
        seconds = self._settings.send_ms_max / 1000
        for batch in ticket.batches:
            if batch.base is None and batch.error is None:
                batch.given_up = True
                where = f"{topic}, lane {batch.lane}"
                if batch.sent or batch.uncertain:
                    batch.error = Uncertain(f"{where}: no answer within {seconds} s (send_ms_max)")
                elif self.client.cluster.partitions_for_topic(topic) is None:
                    batch.error = NoSuchTopic(f"there is no topic {topic}: `evermq topics create` makes it")
                else:
                    batch.error = Unavailable(f"{where}: its leader took nothing for {seconds} s (send_ms_max)")
        if not ticket.future.done():
            ticket.future.set_result(None)

    def _push_soon(self) -> None:
        if not self._pushing:
            self._pushing = True
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        """Send the first batch of every lane that is ready, a request a broker."""
        self._pushing = False
        by_node: dict[int, list[_Load]] = {}
        for lane in self._ready:
            while lane.waiting and lane.waiting[0].batch.given_up:
                lane.waiting.popleft().ticket.settled()
            if lane.waiting:
                lane.busy = True
                leader = self.client.cluster.leader_for_partition(lane.partition)
                by_node.setdefault(-1 if leader is None else leader, []).append(lane.waiting.popleft())
        self._ready.clear()
        for node, loads in by_node.items():
            task = asyncio.create_task(self._carry(node, loads))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, node: int, loads: list[_Load]) -> None:
        """One request; what has to go again goes back to the head of its lane."""
        again: list[_Load] = []
        try:
            again = await self._attempt(node, loads)
            if again:
                await self._refresh(again)
        except Exception as error:  # a defect, or the driver's: callers must not wait for ever
            for load in loads:
                self._failed(load, Uncertain(f"{load.lane.partition.topic}, lane {load.batch.lane}: {error!r}"))
        for load in loads:
            lane, batch, ticket = load
            lane.busy = False
            if load in again and batch.error is None:
                lane.waiting.appendleft(load)
            else:
                ticket.settled()
            if lane.waiting:
                self._ready[lane] = None
        if self._ready:
            self._push_soon()

    async def _attempt(self, node: int, loads: list[_Load]) -> list[_Load]:
        """Send the request; returns what has to go again."""
        try:
            if node < 0 or not await self.client.ready(node):
                return loads
            for load in loads:
                await self._number(load)
        except driver.KafkaError as error:
            return self._broke(error, loads, open_=False)
        for load in loads:
            load.batch.sent = True
        try:
            answer: Any = await self.client.send(node, self._request(loads))
        except driver.KafkaError as error:
            return self._broke(error, loads, open_=not isinstance(error, driver.NodeNotReadyError))
        return self._judge(answer, loads)

    def _broke(self, error: driver.KafkaError, loads: list[_Load], *, open_: bool) -> list[_Load]:
        """There was no answer; `open_`: the request may have arrived."""
        for load in loads:
            load.batch.sent = False
            load.batch.uncertain |= open_
        if error.retriable:
            return loads
        for load in loads:
            self._failed(load, of_aiokafka(error, f"{load.lane.partition.topic}, lane {load.batch.lane}"))
        return []

    async def _number(self, load: _Load) -> None:
        """Give a batch its numbers; once, for all its attempts, unless its lane has got a new producer id."""
        lane, batch, _ = load
        if lane.producer_id < 0:
            lane.producer_id, lane.epoch = await self._identify()
            lane.sequence = 0
        elif batch.payload is not None:
            return
        batch.number(lane.producer_id, lane.epoch, lane.sequence)

    async def _identify(self) -> tuple[int, int]:
        """A producer id; lanes share one until the outcome of something stays open in one of them."""
        if self._identity is None:
            node = self.client.get_random_node()
            answer: Any = await self.client.send(node, InitProducerIdRequest(None, -1))
            if answer.error_code:
                raise driver.for_code(answer.error_code)()
            self._identity = answer.producer_id, answer.producer_epoch
        return self._identity

    def _request(self, loads: list[_Load]) -> ProduceRequest:
        topics: dict[str, list[tuple[int, Any]]] = {}
        for lane, batch, _ in loads:
            topics.setdefault(lane.partition.topic, []).append((lane.partition.partition, batch.payload))
        return ProduceRequest(None, -1, self._settings.request_ms_max, list(topics.items()))

    def _judge(self, answer: Any, loads: list[_Load]) -> list[_Load]:
        """Settle what the broker settled; returns what has to go again."""
        found = {(topic, each[0]): each for topic, partitions in answer.topics for each in partitions}
        again = []
        for load in loads:
            lane, batch, _ = load
            batch.sent = False
            _, code, base, *_ = found.get(tuple(lane.partition), (0, KafkaError.NETWORK_EXCEPTION, -1))
            if code in (KafkaError.NO_ERROR, _DUPLICATE):
                self._appended(load, base)
            elif code in AGAIN:
                batch.uncertain |= class_of(code) is Uncertain
                again.append(load)
            elif code in _FORGOTTEN and not batch.uncertain:
                self._reset(lane)
                again.append(load)
            else:
                said = driver.for_code(code).__name__
                self._failed(load, class_of(code)(f"{lane.partition.topic}, lane {batch.lane}: {said}"))
        return again

    def _appended(self, load: _Load, base: int) -> None:
        load.lane.sequence = (load.lane.sequence + len(load.batch.rows)) % _SEQUENCES
        load.batch.payload = None
        if load.batch.error is None:
            load.batch.base = base

    def _failed(self, load: _Load, error: EvermqError) -> None:
        lane, batch, _ = load
        batch.payload = None
        if batch.error is None:
            batch.error = Uncertain(str(error)) if batch.uncertain else error
        if batch.uncertain or isinstance(error, Uncertain):
            self._reset(lane)

    def _reset(self, lane: _Lane) -> None:
        """Go on under a new producer id."""
        if self._identity and lane.producer_id == self._identity[0]:
            self._identity = None
        lane.producer_id = -1

    async def _refresh(self, again: list[_Load]) -> None:
        """Ask who leads now, after a pause; what nobody can be asked about, or nobody waits for, is settled."""
        await self._clock.sleep(_BACKOFF_MS)
        reached = False
        with contextlib.suppress(asyncio.TimeoutError):
            update = self.client.force_metadata_update()
            reached = await asyncio.wait_for(update, self._settings.request_ms_max / 1000)
        for load in again:
            lane, batch, _ = load
            if batch.given_up:
                self._failed(load, Unavailable("given up"))
            elif not reached and not batch.uncertain:
                self._failed(load, Unavailable(f"kafka://{self._settings.bootstrap}: no broker can be reached"))
            elif lane.partition.topic in self.client.cluster.unauthorized_topics:
                denied = class_of(KafkaError.TOPIC_AUTHORIZATION_FAILED)
                self._failed(load, denied(f"{lane.partition.topic}: this user has no right to see it"))
