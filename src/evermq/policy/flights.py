"""How numbered messages leave: one unsettled append a lane, many lanes at once, and no number is ever skipped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from evermq.clock import Clock
from evermq.errors import Closed, EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.message import Message
from evermq.numbering import Numbering, Place
from evermq.numbers import void_of
from evermq.policy.call import Call, Outcome
from evermq.position import Position, Span

__all__ = ["FlightCounts", "Flights"]

Append = Callable[[Sequence[Message]], Awaitable[Sequence[Position]]]
_PAUSE_MS_FIRST = 20
_PAUSE_MS_MAX = 1_000
_DOUBTFUL_MAX = 65_536
_STALE_MAX = 1_000


@dataclass(slots=True)
class FlightCounts:
    """voids: numbers that were given and that no message will have. repeated: messages that were sent again under
    the number they had."""

    voids: int = 0
    repeated: int = 0


@dataclass(slots=True)
class _Row:
    """A message that waits for its lane. call: None for what nobody waits for any more. landed: where, while something
    before it in its lane has not."""

    message: Message
    place: Place
    call: Call | None
    row: int
    landed: Position | None = None


@dataclass(slots=True, eq=False)
class _Whole:
    """A call that leaves as one, and lands as one, while nothing goes wrong: without any work a message."""

    messages: Sequence[Message]
    places: list[Place]
    lanes: set[int]
    call: Call

    def rows(self, messages: Sequence[Message]) -> list[_Row]:
        """Each message of it by itself."""
        each = enumerate(zip(messages, self.places, strict=True))
        return [_Row(message, place, self.call, row) for row, (message, place) in each]


class Flights:
    """append: where numbered messages go. Lanes whose append is under way keep what comes for them in order.

    While all goes well, calls leave whole, several in one append. As long as something must be sent again, each message
    waits for its own lane alone.

    A message that is Unavailable everywhere is given up, and a void takes its number; one that is Uncertain, and a
    void, is sent again until it has landed, and until then nothing else leaves in its lane. A caller that sends such
    a message again meanwhile, under the same id, waits for the same number.
    """

    def __init__(self, numbering: Numbering, append: Append, *, batch_count_max: int, clock: Clock) -> None:
        self.counts = FlightCounts()
        self.numbering = numbering
        self._append = append
        self._batch_count_max = batch_count_max
        self._clock = clock
        self._busy: set[int] = set()
        self._doubtful: dict[str, tuple[Call, int]] = {}
        self._wholes: deque[_Whole] = deque()
        self._held: set[int] = set()  # lanes for which some of these wait
        self._may_leave = False  # some of these might by now, or there are others than were looked at
        self._waiting: dict[int, deque[_Row]] = {}
        self._stale = 0  # messages that wait for their lane although they were given up
        self._troubled = 0  # flights of which something is sent again
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._busy

    def take(self, messages: Sequence[Message], call: Call) -> None:
        """Send what can leave now, and queue the rest."""
        if self._doubtful:
            fresh = self._rejoin(messages, call)
            if len(fresh) < len(messages):
                self._take_some([messages[row] for row in fresh], fresh, call)
                return
        places = self.numbering.places(messages)
        whole = _Whole(messages, places, {lane for lane, _ in places}, call)
        if self._waiting or self._troubled or len(messages) > self._batch_count_max:
            self._part()
            self._queue_rows(whole)
        else:
            call.queued = range(len(messages))
            self._wholes.append(whole)
            if self._is_held(whole):
                return
        self._launch()

    def give_up(self, messages: Sequence[Message], call: Call) -> None:
        """The caller waits no longer, and may send these again: what is queued does not leave any more, and what was
        sent is remembered."""
        call.expired = self._may_leave = True
        self._stale += len(call.queued)
        if self._stale > _STALE_MAX:
            self._sweep()
        for row, message in enumerate(messages):
            if row not in call.queued and call.known(row) is None:
                self._doubt(message.id, call, row)
        while len(self._doubtful) > _DOUBTFUL_MAX:
            del self._doubtful[next(iter(self._doubtful))]

    def _doubt(self, id: str, call: Call, row: int) -> None:
        """What is sent again and again follows its first send, and not the one before."""
        first = self._doubtful.get(id)
        if first is None or first[0].known(first[1]) is not None:
            self._doubtful[id] = (call, row)

    def _sweep(self) -> None:
        """Nothing may leave for long, and callers give up again and again: what they gave up is not kept."""
        self._stale = 0
        self._wholes = deque(whole for whole in self._wholes if not whole.call.expired)
        for lane, waiting in list(self._waiting.items()):
            kept = self._waiting[lane] = deque(row for row in waiting if row.call and not row.call.expired)
            if not kept:
                del self._waiting[lane]

    def _rejoin(self, messages: Sequence[Message], call: Call) -> list[int]:
        """The rows that are not sends of something that is under way, or has landed, already."""
        fresh = []
        for row, message in enumerate(messages):
            before, other = self._doubtful.get(message.id, (call, row))
            outcome = before.known(other)
            if before is call or isinstance(outcome, EvermqError):
                fresh.append(row)
            elif outcome is None:
                call.follow(row, before, other)
            else:
                call.tell(row, outcome)
            if outcome is not None:
                self._doubtful.pop(message.id, None)
        return fresh

    def _take_some(self, messages: Sequence[Message], rows: Sequence[int], call: Call) -> None:
        """Of a call, these rows alone."""
        self._part()
        call.queued = set(rows)
        for message, place, row in zip(messages, self.numbering.places(messages), rows, strict=True):
            self._waiting.setdefault(place[0], deque()).append(_Row(message, place, call, row))
        self._launch()

    async def close(self) -> None:
        """Let what is under way end within a second; what did not land is voided by whoever takes over the memory."""
        self._closed = True
        self._part()
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
        """Send everything that waits for lanes which are idle."""
        if self._wholes:
            self._launch_wholes()
        while rows := self._next_rows():
            self._busy |= {row.place[0] for row in rows}
            numbered = self.numbering.number([row.message for row in rows], [row.place for row in rows])
            for row, message in zip(rows, numbered, strict=True):
                row.message = message
            self._start(self._fly(rows))

    def _is_held(self, whole: _Whole) -> bool:
        """Whether it, which came last, and so all others wait on. Thousands may wait for a rung that hangs: to look at
        all of them with each that comes would stop everything else."""
        if self._may_leave or (self._busy.isdisjoint(whole.lanes) and self._held.isdisjoint(whole.lanes)):
            return False
        self._held |= whole.lanes
        return True

    def _launch_wholes(self) -> None:
        """In one append, those that need not wait for any lane, nor for one that waits before them."""
        leave: list[_Whole] = []
        stay: deque[_Whole] = deque()
        held: set[int] = set()  # lanes for which an earlier one waits
        count, is_left = 0, False
        for whole in self._wholes:
            if whole.call.expired:
                continue
            is_free = self._busy.isdisjoint(whole.lanes) and held.isdisjoint(whole.lanes)
            if is_free and count + len(whole.messages) <= self._batch_count_max:
                leave.append(whole)
                count += len(whole.messages)
            else:
                stay.append(whole)
                held |= whole.lanes
                is_left |= is_free
        self._wholes, self._held, self._may_leave = stay, held, is_left
        if leave:
            for whole in leave:
                whole.call.queued = ()
                self._busy |= whole.lanes
            self._start(self._fly_whole(leave))

    def _next_rows(self) -> list[_Row]:
        """What waits for idle lanes, as much as an append may carry."""
        rows: list[_Row] = []
        for lane in [lane for lane in self._waiting if lane not in self._busy]:
            waiting = self._waiting[lane]
            while waiting and len(rows) < self._batch_count_max:
                row = waiting.popleft()
                assert row.call
                if not row.call.expired:
                    assert isinstance(row.call.queued, set)
                    row.call.queued.discard(row.row)
                    rows.append(row)
            if not waiting:
                del self._waiting[lane]
            if len(rows) >= self._batch_count_max:
                break
        return rows

    def _part(self) -> None:
        """From now on each message of what waits is to wait for its own lane."""
        wholes, self._wholes, self._may_leave = self._wholes, deque(), True
        for whole in wholes:
            self._queue_rows(whole)

    def _queue_rows(self, whole: _Whole) -> None:
        whole.call.queued = set(range(len(whole.messages)))
        for row in whole.rows(whole.messages):
            self._waiting.setdefault(row.place[0], deque()).append(row)

    async def _fly_whole(self, wholes: list[_Whole]) -> None:
        places = [place for whole in wholes for place in whole.places]
        numbered = self.numbering.number([message for whole in wholes for message in whole.messages], places)
        try:
            positions = await self._append(numbered)
        except Exception as error:
            outcomes = await self._heard(error, numbered)
        else:
            for whole, begin, end in _spans(wholes):
                whole.call.land(positions if len(wholes) == 1 else Span(positions, begin, end))
            lanes = {lane for whole in wholes for lane in whole.lanes}
            self.numbering.landed(lanes)
            self._let_go(lanes)
            return
        rows = [row for whole, begin, end in _spans(wholes) for row in whole.rows(numbered[begin:end])]
        await self._fly(rows, outcomes)

    async def _fly(self, rows: list[_Row], outcomes: Sequence[Outcome] | None = None) -> None:
        outcomes = outcomes or await self._offer([row.message for row in rows])
        heard: set[int] = set()  # rows that may have landed already
        self._settle(rows, outcomes, heard)
        rows = self._landed(rows)
        if rows:
            self._troubled += 1
            self._part()
            self._launch()
            try:
                await self._fly_again(rows, heard)
            finally:
                self._troubled -= 1

    async def _fly_again(self, rows: list[_Row], heard: set[int]) -> None:
        pause_ms = _PAUSE_MS_FIRST
        while rows:
            await self._clock.sleep(pause_ms)
            pause_ms = min(2 * pause_ms, _PAUSE_MS_MAX)
            again = [row for row in rows if row.landed is None]
            self.counts.repeated += len(again)
            self._settle(again, await self._offer([row.message for row in again]), heard)
            rows = self._landed(rows)

    def _landed(self, rows: list[_Row]) -> list[_Row]:
        """Let go of what has landed, and all before it in its lane with it; returns the rest.

        Only that is told to have landed: should this process end now, its successor voids every number from the first
        that has not, and a void in the place of an acknowledged message would be its loss."""
        left: list[_Row] = []
        landed: list[_Row] = []
        lanes: set[int] = set()  # of what is left
        for row in rows:
            if row.landed is None:
                lanes.add(row.place[0])
            (left if row.place[0] in lanes else landed).append(row)
        self.numbering.advance(row.place[0] for row in landed)
        for row in landed:
            if row.call and row.landed:
                row.call.tell(row.row, row.landed)
        self._let_go({row.place[0] for row in landed} - lanes)
        return left

    def _settle(self, rows: list[_Row], outcomes: Sequence[Outcome], heard: set[int]) -> None:
        """Note what has landed; tell what certainly did not, and void its number."""
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Position):
                row.landed = outcome
                continue
            if isinstance(outcome, Uncertain):
                heard.add(id(row))
            if row.call and (isinstance(outcome, Rejected) or id(row) not in heard):
                may_have_landed = id(row) in heard
                why = Uncertain(f"perhaps stored, then refused: {outcome}") if may_have_landed else outcome
                row.call.tell(row.row, why)
                self._void(row)

    def _void(self, row: _Row) -> None:
        nothing = void_of(row.message)
        assert nothing
        row.message, row.call = nothing, None
        self.counts.voids += 1

    def _let_go(self, lanes: set[int]) -> None:
        """All of these has landed."""
        self._busy -= lanes
        if (self._wholes or self._waiting) and not self._closed:
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


def _spans(wholes: Sequence[_Whole]) -> Iterator[tuple[_Whole, int, int]]:
    """Each with where it begins and ends among the messages of all."""
    begin = 0
    for whole in wholes:
        yield whole, begin, begin + len(whole.messages)
        begin += len(whole.messages)
