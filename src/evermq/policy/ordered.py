"""Order per (producer, key), and none of the ladder's own doubles, over a queue that promises neither."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import NoneType
from typing import ClassVar

from evermq.admission import admit
from evermq.batch import Batch
from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, Partial, Rejected, Unavailable, Uncertain, Unsupported
from evermq.fields import NOT_A_MESSAGE, refusal
from evermq.message import DELIVER_AT, Message
from evermq.numbering import Numbering, land_all, lanes_for, voids_in_flight
from evermq.policy.call import Call
from evermq.policy.collector import DAY_MS
from evermq.policy.figures import Figures
from evermq.policy.flights import Flights
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Queue, Start
from evermq.position import Position
from evermq.settling import Progress, Relaned
from evermq.slot import Slot
from evermq.traits import Order, Traits

__all__ = ["Ordered"]

_HEAD_BYTES = 64  # of the memory of the numbers
_HEADERS_BYTES_MAX = 96  # what the number and its flag take of the queue's limit at most


class Ordered:
    """See `Queue`, and docs/guide/order.md for the protocol.

    queue: a ladder whose last rung always takes what it is given. slot: takes the place where this producer's numbers
    stand, at the first append; None for a queue that is only read. progress: what the groups have settled. rungs: by
    configuration key, those that are read; their lane counts decide the lanes of the numbers, unless `lanes` says it.
    hold_ms_max: after so long a message goes on, flagged, although nothing proves that what is before it is nowhere;
    None waits. shuns: lanes of the first rung that messages without a key should not be given now.
    window_count_max: how many messages of a lane are held at most.

    An append returns once every message has landed. After append_ms_max what has not left yet is Unavailable, and what
    was sent is Uncertain: it is sent on all the same. Sent again meanwhile under its id, it is the same message. A
    cancelled append is given up in the same way.
    """

    has_order: ClassVar[bool] = True

    def __init__(
        self,
        queue: Queue,
        *,
        progress: Progress,
        slot: Callable[[], Awaitable[Slot]] | None = None,
        rungs: Mapping[str, Queue],
        lanes: int | None = None,
        append_ms_max: int = 10_000,
        hold_ms_max: int | None = None,
        window_count_max: int = 10_000,
        shuns: Callable[[], Collection[int]] = tuple,
        clock: Clock = SYSTEM,
    ) -> None:
        self._queue = queue
        self._shuns = shuns
        self._progress = progress
        self._slot = slot
        self._rungs = dict(rungs)
        for rung in rungs.values():
            if self.has_order and isinstance(rung, Relaned):
                rung.read_at_once()
        self._lanes = lanes
        self._append_ms_max = append_ms_max
        self._hold_ms_max = hold_ms_max
        self._window_count_max = window_count_max
        self._clock = clock
        self._flights: Flights | None = None
        self._day = -1  # on which numbers were given last
        self._starting: asyncio.Task[Flights] | None = None
        self._readers: list[OrderedReader] = []
        self._figures = Figures()
        self._closed = False
        self._ending = Ending()

    @property
    def name(self) -> str:
        return self._queue.name

    @cached_property
    def traits(self) -> Traits:
        inner = self._queue.traits
        return replace(
            inner,
            order=Order.KEY if self.has_order else Order.NONE,
            delay_ms_max=0,
            message_bytes_max=max(1, inner.message_bytes_max - _HEADERS_BYTES_MAX),
            replay=False,
        )

    @property
    def progress(self) -> Progress:
        """What the groups have settled; in SQL it settles a delivery in its handler's transaction."""
        return self._progress

    @property
    def flights(self) -> Flights | None:
        """What left and has not landed, with its counts; None before the first append."""
        return self._flights

    @property
    def readers(self) -> Sequence[OrderedReader]:
        """The readers that are open, with their counts."""
        return [reader for reader in self._readers if not reader.closed]

    def figures(self) -> dict[str, int]:
        """What was done to the messages of this process: see `Figures.sums`."""
        return self._figures.sums(self._readers, self._flights)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if not messages:
            return ()
        batch = self._admit(messages)
        flights = self._flights or await self._started()
        self._check()
        call = Call(len(batch))
        if self._day != (day := self._clock.now_ms() // DAY_MS):
            flights.numbering.use(day, is_idle=flights.is_idle)
            self._day = day
        flights.take(batch, call)
        try:
            await asyncio.wait([call.done], timeout=self._append_ms_max / 1000)
        finally:
            if not call.done.done():
                flights.give_up(batch, call)
        return call.positions if call.positions is not None else _result(call)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> OrderedReader:
        self._check()
        if start.at == "offset":
            raise Unsupported(f"offsets of {self.name} are each rung's own: start by time, or read one rung alone")
        part = await self._progress.join(group)
        try:
            inner = await self._queue.reader(group, start=start)
        except BaseException:
            await part.leave()
            raise
        reader = OrderedReader(
            inner,
            part,
            group,
            rungs=self._rungs,
            has_order=self.has_order,
            hold_ms_max=self._hold_ms_max,
            window_count_max=self._window_count_max,
            drops_older=start.at != Start.OLDEST.at,
            clock=self._clock,
        )
        self._figures.leave([each for each in self._readers if each.closed])
        self._readers = [*self.readers, reader]
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._queue.backlog(group, lane)

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        for reader in self.readers:
            await reader.close()
        if self._starting:
            self._starting.cancel()
        if self._flights:
            await self._flights.close()
            self._flights.numbering.close()
        await self._queue.close()
        await self._progress.close()

    def _admit(self, messages: Sequence[Message]) -> Batch:
        """Refuse before a number is given: afterwards it would cost a void."""
        batch = admit(messages, self.traits, self._clock.now_ms())
        try:
            columns = batch.columns
            if {*map(type, columns.bodies)} != {bytes} or not {*map(type, columns.keys)} <= {bytes, NoneType}:
                raise refusal(batch, "body and key must be bytes: encode them")
            if columns.has_headers:
                for message in batch:
                    _admit_headers(message.id, message.headers)
        except NOT_A_MESSAGE as error:
            raise refusal(batch, error) from error
        return batch

    def _append(self, messages: Sequence[Message]) -> Awaitable[Sequence[Position]]:
        """Numbered ones; each was admitted with room for its number."""
        return self._queue.append(Batch.numbered(messages, self._queue.traits.message_bytes_max))

    async def _started(self) -> Flights:
        """Once, whoever waits for it: what a producer before had under way is voided before anything leaves."""
        if self._slot is None:
            raise Unsupported(f"{self.name} was opened to be read: appends need a slot")
        if self._starting is None or (self._starting.done() and self._flights is None):
            self._starting = asyncio.create_task(self._begin(self._slot))
        done, _ = await asyncio.wait([self._starting], timeout=self._append_ms_max / 1000)
        if not done:
            raise Unavailable("what was under way when this producer last ended has not landed yet")
        return self._starting.result()

    async def _begin(self, take: Callable[[], Awaitable[Slot]]) -> Flights:
        slot = await take()
        lanes = self._lanes or lanes_for(slot.memory(_HEAD_BYTES), self._lanes_of_rungs())
        memory = slot.memory(Numbering.size_bytes(lanes))
        count_max = self._queue.traits.batch_count_max
        while voids := voids_in_flight(memory):
            try:
                for start in range(0, len(voids), count_max):
                    await self._queue.append(voids[start : start + count_max])
                land_all(memory)
            except EvermqError:
                await self._clock.sleep(100)
        numbering = Numbering(
            memory,
            lanes=lanes,
            incarnation=slot.incarnation,
            token=self._clock.token,
            tells_reset=self.has_order and slot.is_named,
        )
        first = next(iter(self._rungs.values()))
        numbering.shuns, numbering.lanes_of_first = self._shuns, lambda: first.traits.lanes
        self._flights = Flights(numbering, self._append, batch_count_max=count_max, clock=self._clock)
        return self._flights

    def _lanes_of_rungs(self) -> dict[str, int]:
        return {key: rung.traits.lanes for key, rung in self._rungs.items()}

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


def _admit_headers(id: str, headers: Mapping[str, str]) -> None:
    if DELIVER_AT in headers:
        raise Unsupported(f"message {id}: a delayed message has no place in an order; send it when it is due")
    if not all(type(name) is str and type(value) is str for name, value in headers.items()):
        raise Rejected(f"message {id}: headers must be text")


def _result(call: Call) -> Sequence[Position]:
    """The positions, or the error that says the same of all, or Partial; what is not known yet is said to be so."""
    unsent = Unavailable("what is before it in its lane has not landed yet")
    unknown = Uncertain("on its way: it is sent on until it has landed")
    outcomes = [each or (unsent if row in call.queued else unknown) for row, each in enumerate(call.outcomes)]
    errors = [each for each in outcomes if isinstance(each, EvermqError)]
    if not errors:
        return [each for each in outcomes if isinstance(each, Position)]
    if len(errors) == len(outcomes) and len({type(error) for error in errors}) == 1:
        raise errors[0]
    raise Partial(outcomes)
