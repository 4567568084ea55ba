"""How numbered messages leave: one unsettled append a lane, many lanes at once, and no number is ever skipped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from evermq.clock import Clock
from evermq.errors import Closed, EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.message import Message
from evermq.numbering import Numbering, Place
from evermq.numbers import void_of
from evermq.position import Position

__all__ = ["Call", "FlightCounts", "Flights"]

Outcome = Position | EvermqError
Append = Callable[[Sequence[Message]], Awaitable[Sequence[Position]]]
_PAUSE_MS_FIRST = 20
_PAUSE_MS_MAX = 1_000


@dataclass(slots=True)
class FlightCounts:
    """voids: numbers that were given and that no message will have. repeated: messages that were sent again under
    the number they had."""

    voids: int = 0
    repeated: int = 0


class Call:
    """One append of an application: the outcome of each message, and a future for all of them."""

    __slots__ = ("done", "expired", "left", "outcomes", "positions", "queued")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.positions: Sequence[Position] | None = None
        self.left = count
        self.expired = False
        self.queued: set[int] = set()  # rows that have not left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, row: int, outcome: Outcome) -> None:
        """The outcome of one message; the first one counts."""
        if self.outcomes[row] is None:
            self.outcomes[row] = outcome
            self.left -= 1
            if not self.left:
                self.finish()

    def finish(self) -> None:
        """All is told."""
        if not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True)
class _Row:
    """A message that waits for its lane. call: None for what nobody waits for any more."""

    message: Message
    place: Place
    call: Call | None
    row: int


class Flights:
    """append: where numbered messages go. Lanes whose append is under way keep what comes for them in order.

    A message that is Unavailable everywhere is given up, and a void takes its number; one that is Uncertain, and a
    void, is sent again until it has landed, and until then nothing else leaves in its lane.
    """

    def __init__(self, numbering: Numbering, append: Append, *, batch_count_max: int, clock: Clock) -> None:
        self.counts = FlightCounts()
        self._numbering = numbering
        self._append = append
        self._batch_count_max = batch_count_max
        self._clock = clock
        self._busy: set[int] = set()
        self._waiting: dict[int, deque[_Row]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._busy

    def take(self, messages: Sequence[Message], call: Call) -> None:
        """Send what can leave now, and queue the rest."""
        places = self._numbering.places(messages)
        lanes = {lane for lane, _ in places}
        if len(messages) <= self._batch_count_max and lanes.isdisjoint(self._busy) and not self._waiting:
            self._busy |= lanes
            self._start(self._fly_whole(messages, places, lanes, call))
            return
        call.queued.update(range(len(messages)))
        for row, (message, place) in enumerate(zip(messages, places, strict=True)):
            self._waiting.setdefault(place[0], deque()).append(_Row(message, place, call, row))
        self._launch()

    async def close(self) -> None:
        """Let what is under way end within a second; what did not land is voided by whoever takes over the memory."""
        self._closed = True
        for waiting in self._waiting.values():
            for row in waiting:
                if row.call:
                    row.call.tell(row.row, Closed("the queue was closed before this message left"))
        self._waiting.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _launch(self) -> None:
        """Send everything that waits for a lane which is idle."""
        rows: list[_Row] = []
        for lane in [lane for lane in self._waiting if lane not in self._busy]:
            waiting = self._waiting[lane]
            while waiting and len(rows) < self._batch_count_max:
                row = waiting.popleft()
                assert row.call
                if not row.call.expired:
                    row.call.queued.discard(row.row)
                    rows.append(row)
            if not waiting:
                del self._waiting[lane]
            if len(rows) >= self._batch_count_max:
                break
        if rows:
            lanes = {row.place[0] for row in rows}
            self._busy |= lanes
            numbered = self._numbering.number([row.message for row in rows], [row.place for row in rows])
            for row, message in zip(rows, numbered, strict=True):
                row.message = message
            self._start(self._fly(rows))
            self._launch()

    async def _fly_whole(self, messages: Sequence[Message], places: list[Place], lanes: set[int], call: Call) -> None:
        """A call that leaves at once and as it is: the usual case, without any work a message."""
        numbered = self._numbering.number(messages, places)
        try:
            call.positions = await self._append(numbered)
        except Exception as error:
            outcomes = await self._heard(error, numbered)
        else:
            call.finish()
            self._land(lanes)
            return
        each = enumerate(zip(numbered, places, strict=True))
        await self._fly([_Row(message, place, call, row) for row, (message, place) in each], outcomes)

    async def _fly(self, rows: list[_Row], outcomes: Sequence[Outcome] | None = None) -> None:
        pause_ms = _PAUSE_MS_FIRST
        heard: set[int] = set()  # rows that may have landed already
        while True:
            if outcomes is None:
                outcomes = await self._offer([row.message for row in rows])
            before = {row.place[0] for row in rows}
            rows = self._settle(rows, outcomes, heard)
            self._land(before - {row.place[0] for row in rows})
            if not rows:
                return
            outcomes = None
            await self._clock.sleep(pause_ms)
            pause_ms = min(2 * pause_ms, _PAUSE_MS_MAX)
            self.counts.repeated += len(rows)

    def _settle(self, rows: list[_Row], outcomes: Sequence[Outcome], heard: set[int]) -> list[_Row]:
        """Tell what is certain; returns what must be sent again."""
        again = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Position):
                if row.call:
                    row.call.tell(row.row, outcome)
                continue
            again.append(row)
            if isinstance(outcome, Uncertain):
                heard.add(id(row))
            if row.call and (isinstance(outcome, Rejected) or id(row) not in heard):
                may_have_landed = id(row) in heard
                why = Uncertain(f"perhaps stored, then refused: {outcome}") if may_have_landed else outcome
                row.call.tell(row.row, why)
                self._void(row)
        return again

    def _void(self, row: _Row) -> None:
        nothing = void_of(row.message)
        assert nothing
        row.message, row.call = nothing, None
        self.counts.voids += 1

    def _land(self, lanes: set[int]) -> None:
        self._numbering.landed(lanes)
        self._busy -= lanes
        if self._waiting and not self._closed:
            self._launch()

    async def _offer(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """The outcome of each."""
        try:
            return await self._append(messages)
        except Exception as error:
            return await self._heard(error, messages)

    async def _heard(self, error: Exception, messages: Sequence[Message]) -> Sequence[Outcome]:
        """What an error says of each message of an append."""
        if isinstance(error, Partial):
            return error.outcomes
        if isinstance(error, Rejected) and len(messages) > 1:
            half = len(messages) // 2  # for the sake of one of them: ask which
            return [*await self._offer(messages[:half]), *await self._offer(messages[half:])]
        if isinstance(error, Rejected | Unavailable | Uncertain):
            return [error] * len(messages)
        return [Uncertain(f"perhaps stored: {error!r}")] * len(messages)
