"""Carries batches to brokers: idempotent, in order per lane, with an outcome for each within a known time.

A lane has one batch on its way at a time. What is appended meanwhile is encoded at once, into those that go next;
what is ready for several lanes of a broker goes in one request, unless that is large. A request that fails in a way
that may pass is sent again with the same numbers, which lets the broker drop a second copy. Where the outcome of a
batch stays open, its lane goes on under a new producer id, so that numbers never collide with those of a batch that may
yet land. A batch that is refused for what is in it is sent again append by append, so that nobody is refused for what
others sent; one that is refused for its size in halves, since a broker may have got a smaller limit than it had; one
that is refused for the clock of this host without its times.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import aiokafka.errors as driver
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import TopicPartition
from confluent_kafka import KafkaError

from evermq.adapters.kafka.batch import LaneBatch, Ticket
from evermq.adapters.kafka.errors import AGAIN, CLASSES, class_of, of_aiokafka
from evermq.adapters.kafka.link import Line, Lines, client_of, write
from evermq.adapters.kafka.request import Produce
from evermq.adapters.kafka.sender_lane import SenderLane, requests
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.versions import check_versions
from evermq.clock import SYSTEM, Clock
from evermq.errors import (
    Closed,
    EvermqError,
    NoSuchTopic,
    Rejected,
    TooLarge,
    Unavailable,
    Uncertain,
    Unsupported,
)

__all__ = ["Sender"]

_BACKOFF_MS = 50
_SEQUENCES = 1 << 31
_PATIENCE_S = 0.5  # what may go anywhere goes to no lane that has taken nothing for so long
_TRY_S = 2.0
_AT_ONCE_BYTES = 64 << 10  # so much does not wait for what the turn of the loop may still bring
_UNSENT = (driver.NodeNotReadyError, driver.IncompatibleBrokerVersion)
_DUPLICATE = KafkaError.DUPLICATE_SEQUENCE_NUMBER
# The broker does not know, or no longer knows, what the producer sent before.
_FORGOTTEN = (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.UNKNOWN_PRODUCER_ID)
# Refused perhaps for the sake of one record, and the others of its batch with it.
_AT_FAULT = frozenset(code for code, kind in CLASSES.items() if kind in (Rejected, TooLarge, Unsupported))
# Says something of the message only where it is the only one.
_OVER_SIZE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)


class Sender:
    """Of one place; belongs to the loop that it was opened in."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._clock = clock
        self.client = client_of(settings)
        self._lines = Lines()
        self._lanes: dict[tuple[str, int], SenderLane] = {}
        self._batch_bytes: dict[str, int] = {}  # by topic, where brokers refused larger ones
        self._ready: dict[SenderLane, None] = {}
        self._pushing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._identity: tuple[int, int] | None = None
        self._failure = ""
        self._reached = True  # a broker, when one was last asked who leads

    async def open(self) -> None:
        """Connect. Raises Unavailable where no broker answers, Unsupported where they are too old."""
        where = f"kafka://{self._settings.bootstrap}"
        try:
            await self.client.bootstrap()
        except driver.KafkaError as error:
            raise of_aiokafka(error, where) from None
        await check_versions(self.client, where)

    def watch(self, topic: str) -> None:
        """A queue was opened: keep the leaders of its topic at hand, and try its limit anew."""
        self._batch_bytes.pop(topic, None)
        if not self._failure:
            self.client.add_topic(topic)

    def takes(self, topic: str, number: int) -> bool:
        """Whether what may go to any lane should go to this one: not to one that is silent, but for a try now and then,
        by which it is seen that it is well again."""
        lane = self._lanes.get((topic, number))
        if lane is None or not lane.since_s:
            return True
        now_s = asyncio.get_running_loop().time()
        if lane.batch is None and not lane.waiting:
            return now_s >= lane.try_s
        return now_s < lane.since_s + _PATIENCE_S

    async def send(self, topic: str, ticket: Ticket, rows: Mapping[int, Sequence[int]]) -> None:
        """Send rows of the ticket, by lane: each of its shares has its outcome when this returns, and when it is
        cancelled. Raises what keeps a message from being a record; then none is sent."""
        if self._failure:
            raise Closed(self._failure)
        loop = asyncio.get_running_loop()
        ticket.future = loop.create_future()
        ticket.batch_bytes = min(ticket.bytes_max, self._batch_bytes.get(topic, ticket.bytes_max))
        self._enter(topic, ticket, rows)
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
        shares = [share for lane in self._lanes.values() for batch in lane.waiting for share in batch.shares]
        waiting: set[asyncio.Future[None]] = {share.ticket.future for share in shares if share.ticket.future}
        waiting |= self._tasks
        if waiting:
            await asyncio.wait(waiting, timeout=self._settings.send_ms_max / 1000)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    def _enter(self, topic: str, ticket: Ticket, rows: Mapping[int, Sequence[int]]) -> None:
        size = 0
        try:
            for number, mine in rows.items():
                lane = self._lanes.get((topic, number))
                if lane is None:
                    lane = self._lanes[topic, number] = SenderLane(TopicPartition(topic, number))
                lane.put(ticket, mine)
                if lane.batch is None:
                    self._ready[lane] = None
                    size += lane.waiting[0].size
            if size >= _AT_ONCE_BYTES:
                self._push()
        except BaseException as error:
            for share in ticket.shares:
                share.batch.abandon(share, Rejected(str(error)))
            raise
        finally:
            self._push_soon()

    def _give_up(self, topic: str, ticket: Ticket) -> None:
        """Time is over: what no broker was sent is certainly not appended, the rest is open."""
        seconds = self._settings.send_ms_max / 1000
        for share in ticket.shares:
            if share.base is None and share.error is None:
                batch, where = share.batch, f"{topic}, lane {share.lane}"
                error: EvermqError = Unavailable(f"{where}: its leader took nothing for {seconds} s (send_ms_max)")
                if batch.sent or batch.uncertain:
                    error = Uncertain(f"{where}: no answer within {seconds} s (send_ms_max)")
                elif self.client.cluster.partitions_for_topic(topic) is None:
                    error = NoSuchTopic(f"there is no topic {topic}: `evermq topics create` makes it")
                batch.abandon(share, error)
        ticket.over()

    def _push_soon(self) -> None:
        if self._ready and not self._pushing:
            self._pushing = True
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        """Send the first batch of every lane that is ready, those of a broker together."""
        self._pushing = False
        by_node: dict[int, list[SenderLane]] = {}
        for lane in self._ready:
            self._next(lane)
            if lane.batch is not None:
                leader = self.client.cluster.leader_for_partition(lane.partition)
                by_node.setdefault(-1 if leader is None else leader, []).append(lane)
        self._ready.clear()
        for node, lanes in by_node.items():
            for some in requests(lanes):
                line = self._lines.take(node)
                task = asyncio.create_task(self._carry(line, some, self._write(line, some)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _next(self, lane: SenderLane) -> None:
        """Choose the batch whose turn it is; what nobody waits for any more is not sent."""
        while lane.batch is None and lane.waiting:
            batch = lane.waiting.popleft()
            if not batch.is_awaited:
                self._settle(lane, batch, Unavailable, "given up")
            elif batch.is_whole or batch.uncertain:
                lane.batch = batch  # another attempt at what may have landed has to be the same
                now_s = asyncio.get_running_loop().time()
                lane.since_s, lane.try_s = lane.since_s or now_s, now_s + _TRY_S
            else:
                lane.waiting.extendleft(reversed(batch.again(apart=False)))

    def _write(self, line: Line, lanes: list[SenderLane]) -> Awaitable[Any] | None:
        """The answer to a request that is on its way already; None where something has to be waited for first."""
        answer = None
        if self._identity is not None:
            with contextlib.suppress(Exception):  # it comes again on the longer way, and is told there
                for lane in lanes:
                    self._number(lane, self._identity)
                answer = write(self.client, line, self._request(lanes))
        for lane in lanes:
            lane.set_sent(answer is not None)
        return answer

    async def _carry(self, line: Line, lanes: list[SenderLane], answer: Awaitable[Any] | None) -> None:
        """One request; what has to go again goes back to the head of its lane."""
        try:
            try:
                again = await self._attempt(line, lanes, answer)
            finally:
                self._lines.leave(line)
            if again:
                await self._refresh(again)
        except Exception as error:  # a defect, or the driver's: callers must not wait for ever
            for lane in lanes:
                self._failed(lane, Uncertain, f"{lane.name}: {error!r}")
        for lane in lanes:
            batch, lane.batch = lane.batch, None
            if batch is not None and not batch.settled:
                lane.waiting.appendleft(batch)
            if lane.waiting:
                self._ready[lane] = None
        if sum(lane.waiting[0].size for lane in lanes if lane.waiting) >= _AT_ONCE_BYTES:
            self._push()  # before those who have their answers take the time to make more
        self._push_soon()

    async def _attempt(self, line: Line, lanes: list[SenderLane], answer: Awaitable[Any] | None) -> list[SenderLane]:
        """Send the request, unless that is done; returns what has to go again."""
        stale: list[SenderLane] = []
        if answer is None:
            try:
                if line.node < 0 or not await self.client.ready(line.node, group=line.group):
                    return lanes
                identity = await self._identify()
            except driver.KafkaError as error:
                return self._broke(error, lanes, open_=False)
            # While the broker was waited for, somebody may have been told that his messages are not appended.
            stale = [lane for lane in lanes if lane.batch and not (lane.batch.is_whole or lane.batch.uncertain)]
            lanes = [lane for lane in lanes if lane not in stale]
            for lane in lanes:
                self._number(lane, identity)
                lane.set_sent(True)
            answer = self.client.send(line.node, self._request(lanes), group=line.group)
        try:
            said = await answer
        except driver.KafkaError as error:
            return stale + self._broke(error, lanes, open_=not isinstance(error, _UNSENT))
        return stale + self._judge(said, lanes)

    def _broke(self, error: driver.KafkaError, lanes: list[SenderLane], *, open_: bool) -> list[SenderLane]:
        """There was no answer; `open_`: the request may have arrived."""
        for lane in lanes:
            assert lane.batch
            lane.set_sent(False)
            lane.batch.uncertain |= open_
        if error.retriable:
            return lanes
        for lane in lanes:
            found = of_aiokafka(error, lane.name)
            self._failed(lane, type(found), str(found))
        return []

    def _number(self, lane: SenderLane, identity: tuple[int, int]) -> None:
        """Give a batch its numbers; once, for all its attempts, unless its lane has got a new producer id."""
        assert lane.batch
        if lane.producer_id < 0:
            lane.producer_id, lane.epoch = identity
            lane.sequence = 0
        elif lane.batch.payload is not None:
            return
        lane.batch.number(lane.producer_id, lane.epoch, lane.sequence)

    def _request(self, lanes: list[SenderLane]) -> Produce:
        batches = [(lane.partition.topic, lane.batch) for lane in lanes if lane.batch]
        return Produce(batches, self._settings.request_ms_max)

    async def _identify(self) -> tuple[int, int]:
        """A producer id; lanes share one until the outcome of something stays open in one of them."""
        if self._identity is None:
            node = self.client.get_random_node()
            answer: Any = await self.client.send(node, InitProducerIdRequest(None, -1))
            if answer.error_code:
                raise driver.for_code(answer.error_code)()
            self._identity = answer.producer_id, answer.producer_epoch
        return self._identity

    def _judge(self, answer: Any, lanes: list[SenderLane]) -> list[SenderLane]:
        """Settle what the broker settled; returns what has to go again."""
        found = {(topic, each[0]): each for topic, partitions in answer.topics for each in partitions}
        again = []
        for lane in lanes:
            batch = lane.batch
            assert batch
            lane.set_sent(False)
            _, code, base, *_ = found.get(tuple(lane.partition), (0, KafkaError.NETWORK_EXCEPTION, -1))
            if code in (KafkaError.NO_ERROR, _DUPLICATE) or code in _AT_FAULT:
                lane.since_s = 0.0
            if code in (KafkaError.NO_ERROR, _DUPLICATE):
                lane.sequence = (lane.sequence + batch.count) % _SEQUENCES
                batch.appended(base)
            elif code in AGAIN:
                batch.uncertain |= class_of(code) is Uncertain
                again.append(lane)
            elif code in _FORGOTTEN and not batch.uncertain:
                self._reset(lane)
                again.append(lane)
            elif code == KafkaError.INVALID_TIMESTAMP and batch.has_times and not batch.uncertain:
                lane.waiting.extendleft(reversed(batch.without_times()))
            elif code in _OVER_SIZE and batch.count > 1 and not batch.uncertain:
                self._halve(lane, batch)
            elif code in _AT_FAULT and len(batch.shares) > 1 and not batch.uncertain:
                lane.waiting.extendleft(reversed(batch.again(apart=True)))
            else:
                self._failed(lane, class_of(code), f"{lane.name}: {KafkaError(code).str()}")
        return again

    def _halve(self, lane: SenderLane, batch: LaneBatch) -> None:
        """Send it again in smaller ones, and what is appended from now on in such as well."""
        halves = batch.halves()
        lane.waiting.extendleft(reversed(halves))
        if halves:
            topic, size = lane.partition.topic, max(half.size for half in halves)
            self._batch_bytes[topic] = min(size, self._batch_bytes.get(topic, size))

    def _failed(self, lane: SenderLane, kind: type[EvermqError], said: str) -> None:
        if lane.batch is not None and not lane.batch.settled:
            self._settle(lane, lane.batch, kind, said)

    def _settle(self, lane: SenderLane, batch: LaneBatch, kind: type[EvermqError], said: str) -> None:
        """It failed; what may have landed of it makes the lane go on under a new producer id."""
        if batch.uncertain or kind is Uncertain:
            self._reset(lane)
        batch.failed(kind, said)

    def _reset(self, lane: SenderLane) -> None:
        """Go on under a new producer id."""
        if self._identity and lane.producer_id == self._identity[0]:
            self._identity = None
        lane.producer_id = -1

    async def _refresh(self, again: list[SenderLane]) -> None:
        """Ask who leads now; what nobody can be asked about, or nobody waits for, is settled. After a pause, unless all
        is told to its callers at once where still nobody can be reached: they may go elsewhere."""
        if self._reached or any(lane.batch and lane.batch.uncertain for lane in again):
            await self._clock.sleep(_BACKOFF_MS)
        reached = self._reached = False
        with contextlib.suppress(asyncio.TimeoutError):
            update = self.client.force_metadata_update()
            reached = self._reached = await asyncio.wait_for(update, self._settings.request_ms_max / 1000)
        for lane in again:
            batch = lane.batch
            assert batch
            if not batch.is_awaited:
                self._failed(lane, Unavailable, "given up")
            elif not reached:
                self._refuse_unsent(lane, f"kafka://{self._settings.bootstrap}: no broker can be reached")
            elif lane.partition.topic in self.client.cluster.unauthorized_topics:
                denied = class_of(KafkaError.TOPIC_AUTHORIZATION_FAILED)
                self._failed(lane, denied, f"{lane.partition.topic}: this user has no right to see it")

    def _refuse_unsent(self, lane: SenderLane, said: str) -> None:
        """What may have landed is tried on; what waits behind it is told, and may go elsewhere."""
        head = lane.batch
        if head and not head.uncertain:
            self._failed(lane, Unavailable, said)
            return
        waiting, lane.waiting = lane.waiting, deque()
        for batch in waiting:
            if batch.uncertain:
                lane.waiting.append(batch)
            else:
                self._settle(lane, batch, Unavailable, said)
