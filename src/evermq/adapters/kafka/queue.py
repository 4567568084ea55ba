"""A topic of Kafka behind the port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evermq.adapters.kafka.batch import Share, Ticket
from evermq.adapters.kafka.dealing import LaneOf, check, deal, is_near
from evermq.adapters.kafka.positions import Positions, run
from evermq.adapters.kafka.topic import Topic
from evermq.batch import Batch
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, Misconfigured, Partial, Uncertain, Unsupported
from evermq.message import Message
from evermq.port import Start
from evermq.position import Position
from evermq.topics import check_group

if TYPE_CHECKING:
    from evermq.adapters.kafka.place import KafkaPlace
    from evermq.adapters.kafka.reader import KafkaReader

__all__ = ["KafkaQueue"]


class KafkaQueue:
    """See `Queue` and `OrdersAppends`. Several may be open on one topic."""

    appends_max = 2

    def __init__(self, place: KafkaPlace, topic: Topic) -> None:
        self._place = place
        self._topic = topic
        self._readers: list[KafkaReader] = []
        self._opening: set[asyncio.Task[KafkaReader]] = set()
        self._closed = False
        self._ending = Ending()
        self._turn = 0
        self._at_once = False
        self._lane_of = LaneOf(topic.lanes)
        self._batch_bytes = topic.batch_bytes
        self._sending = 0
        self._quiet = asyncio.Event()
        self._names = topic.names
        self._keeps_timestamps = topic.keeps_timestamps
        self.name = topic.name
        self.traits = topic.traits

    @property
    def topic_id(self) -> str:
        """See `evermq.settling.Identified`. Of when a reader was opened last, or the queue."""
        return self._topic.id

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if not messages:
            return ()
        ticket = self._ticket(messages)
        rows = deal(ticket.columns.keys, self._lane_of, self._next_turn())
        self._sending += 1
        try:
            await self._place.sender.send(self.name, ticket, rows)
        finally:
            self._sending -= 1
            if not self._sending:
                self._quiet.set()
        shares = ticket.shares
        if any(share.error for share in shares):
            raise self._error(shares, len(messages))
        if len(shares) == 1:
            return run(shares[0], self._names)
        return Positions(shares, self._names, len(messages))

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> KafkaReader:
        self._check()
        check_group(group)
        if start.at not in ("oldest", "newest", "time", "offset"):
            raise Misconfigured(f'start "{start.at}": give oldest, newest, time or offset')
        opening = asyncio.create_task(self._open(group, start))
        self._opening.add(opening)
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and not opening.exception():
                await opening.result().close()  # nobody has it, and it would keep its lanes
            caller = asyncio.current_task()
            if caller and not caller.cancelling():  # nor was the opening given up by whoever waits for it
                self._check()
            raise
        finally:
            self._opening.discard(opening)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        topic = await self._place.look(self._topic)
        lanes = topic.known
        if lane is not None and (not lane.isdecimal() or int(lane) not in lanes):
            raise Misconfigured(f'lane "{lane}": {self.name} has lanes 0 to {len(lanes) - 1}')
        return await self._place.backlog(topic, check_group(group), None if lane is None else int(lane))

    def read_at_once(self) -> None:
        """See `evermq.settling.Relaned`."""
        self._at_once = True

    async def end(self, lane: str) -> int:
        """See `evermq.settling.Bounded`."""
        self._check()
        return await self._place.end(self._topic, int(lane), self.traits.lanes)

    @property
    def is_over(self) -> bool:
        """Whether it was closed, to the end."""
        return self._ending.is_over

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.gather(*(reader.close() for reader in self._readers))
        self._quiet.clear()
        if self._sending:
            await self._quiet.wait()

    async def _open(self, group: str, start: Start) -> KafkaReader:
        self._topic = await self._place.look(self._topic)
        reader = await self._place.read(self._topic, group, start, at_once=self._at_once)
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    def _next_turn(self) -> int:
        """The lane of what has no key: the next one that takes it, or merely the next where none does."""
        first = self._turn = (self._turn + 1) % self.traits.lanes
        takes = self._place.sender.takes
        while not takes(self.name, self._turn):
            self._turn = (self._turn + 1) % self.traits.lanes
            if self._turn == first:
                break
        return self._turn

    def _ticket(self, messages: Sequence[Message]) -> Ticket:
        if len(messages) > self.traits.batch_count_max:
            raise Unsupported(f"a batch of {len(messages)} messages: at most {self.traits.batch_count_max} fit")
        now_ms = self._place.clock.now_ms()
        batch = Batch.of(messages)
        check(batch, self.traits.message_bytes_max, now_ms)
        return Ticket(
            batch,
            batch.columns,
            stamp_ms=None if self._keeps_timestamps and is_near(batch.columns, now_ms) else now_ms,
            bytes_max=self._batch_bytes,
            compression=self._place.compression,
        )

    def _error(self, shares: list[Share], count: int) -> EvermqError:
        """What says the same of all messages, or Partial."""
        errors = [share.error for share in shares if share.error]
        if len(errors) == len(shares) and len({type(error) for error in errors}) == 1:
            return errors[0]
        outcomes: list[Position | EvermqError] = [Uncertain("no outcome")] * count
        for share in shares:
            found: Sequence[Position | EvermqError] = run(share, self._names)
            if share.error:
                found = [share.error] * len(share.rows)
            for row, outcome in zip(share.rows, found, strict=True):
                outcomes[row] = outcome
        return Partial(outcomes)

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")
        self._place.check()
