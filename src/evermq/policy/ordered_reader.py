"""A reader that hands out each number once, behind the number before it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain

from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, Fenced, Unavailable, Uncertain
from evermq.pause import pause_ms
from evermq.policy.absence import Absence
from evermq.policy.collector import DAY_MS, Collector
from evermq.policy.contact import Contact
from evermq.policy.gate import Gate
from evermq.policy.gone import GoneWatch
from evermq.policy.lane import GateCounts, Lane, Ticket
from evermq.policy.overdue import Overdue
from evermq.policy.read_to import ReadTo
from evermq.policy.room import beyond_room
from evermq.policy.sweep import Sweep
from evermq.policy.turns import Turns
from evermq.port import Delivery, Queue, Reader
from evermq.settling import Part, Report

__all__ = ["OrderedReader"]

_TEND_MS = 100
_WAIT_MS = 1_000
_OVER_MS = 2_000  # what does not fit comes again and again, as long as what it waits for is away
_CLOSE_MS_MAX = 1_000


class OrderedReader:
    """See `Reader`. A lane is handled by the reader that has claimed it, on all rungs; what comes too early is held,
    unacknowledged, until what is before it is settled.

    While the store of progress does not answer for as long as its claims last, nothing is handed out: see `Contact`.
    In the background it renews its claims, acknowledges and gives back, and searches for what never comes. These are
    tasks of their own, since rungs may take long to answer: a reader whose claims are not renewed loses them."""

    def __init__(
        self,
        inner: Reader,
        part: Part,
        group: str,
        *,
        rungs: Mapping[str, Queue],
        has_order: bool = True,
        hold_ms_max: int | None = None,
        window_count_max: int = 10_000,
        drops_older: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        self._inner = inner
        self._part = part
        self._clock = clock
        self._window_count_max = window_count_max
        self._gate = Gate(part=part, has_order=has_order, drops_older=drops_older)
        self._absence = Absence(self._gate, part, rungs, group, clock)
        self._overdue = Overdue(self._gate, self._absence, hold_ms_max, clock)
        self._contact = Contact(self._gate, part, window_count_max, clock)
        self._ready: list[Delivery] = []
        self._read_to = ReadTo(rungs, inner)
        self._lost: set[int] = set()  # lanes to be given back once the others were told what this reader had of them
        self._poll: asyncio.Task[list[Delivery]] | None = None
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self._claiming = asyncio.Lock()
        self._fences = 0  # how often this reader heard that it had lost its lanes
        self._reports: tuple[Report, ...] = ()
        self._asked_ms = 0  # when this reader asked for them
        self._sweep = Sweep(self._gate, inner, self._read_to, self._write)
        self._collector = Collector(self._gate, part, clock)
        self._turns = Turns(inner, part, rungs, clock, self._return_unseen)
        self._gone = GoneWatch(self._gate.underway, part, rungs, group, clock)
        jobs = (self._tend, self._sweep.turn, self._search)
        self._tasks = [asyncio.create_task(self._always(job)) for job in jobs]
        self._ending = Ending()
        self.closed = False

    @property
    def counts(self) -> GateCounts:
        """What was held, dropped, flagged and returned so far."""
        return self._gate.counts

    @property
    def holding(self) -> int:
        """How many messages are held now."""
        return sum(len(lane.parked) for lane in self._gate.lanes.values())

    @property
    def hold_ms(self) -> int:
        """How long the oldest message that is held has waited; 0 where there is none."""
        oldest = min((p.since_ms for lane in self._gate.lanes.values() for p in lane.parked), default=None)
        return 0 if oldest is None else self._clock.monotonic_ms() - oldest

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        self._turns.begin()
        try:
            return await self._read(count_max, self._clock.monotonic_ms() + wait_ms)
        finally:
            self._turns.end()

    async def _read(self, count_max: int, until_ms: int) -> list[Delivery]:
        while True:
            self._check()
            if len(self._ready) < count_max and not self._contact.is_lost:
                await self._take_in(count_max)
            if self._ready:
                await self._note_attempts()
            if not self._contact.is_lost:
                found, self._ready = self._ready[:count_max], self._ready[count_max:]
                if found:
                    return found
            left_ms = until_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                return []
            await self._wait(count_max, left_ms)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        tickets = self._gate.own(deliveries)
        for lane in self._gate.settle(tickets):
            self._hand(self._gate.followed(lane))
        try:
            await self._write({ticket.lane.number for ticket in tickets if ticket.lane})
        except BaseException:
            self._gate.owe(tickets)
            raise
        finally:
            self._sweep.give_back(self._gate.unwritten(tickets))
        await self._inner.ack([ticket.inner for ticket in tickets if ticket.is_settled])

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        back = self._take_back(deliveries, pause_ms(delay_ms))
        back += self._sweep.behind(back, delay_ms)
        try:
            await self._inner.release(back, delay_ms=delay_ms)
        except BaseException:  # given up by the caller, too: nobody else knows of them any more
            self._sweep.give_back(back)
            raise

    def _take_back(self, deliveries: Sequence[Delivery], delay_ms: int) -> list[Delivery]:
        """From the application, with what is behind them."""
        back = self._gate.release(self._gate.own(deliveries), delay_ms, unseen=self._unseen())
        self._ready = [each for each in self._ready if each.receipt.is_out]
        self._read_to.gave_back(back)
        return back

    async def close(self) -> None:
        self.closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        tasks = [*self._tasks, *([self._poll] if self._poll else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._gate.count_open(self._unseen())
        try:
            async with asyncio.timeout(_CLOSE_MS_MAX / 1000):
                await self._sweep.turn()
        except (EvermqError, TimeoutError):
            pass  # what nobody has to see comes again, and is dropped there
        try:
            await self._inner.close()
        finally:
            try:
                async with asyncio.timeout(self._part.silent_ms_max / 1000):
                    await self._part.leave()
            except (EvermqError, TimeoutError):
                pass  # its claims end when it is silent for long enough

    async def _note_attempts(self) -> None:
        if self._gate.is_ahead:
            self._gate.is_ahead = False
            try:
                await self._write()
            except (Unavailable, Uncertain, Fenced):
                pass  # it goes on without: a message must not wait for its count

    def _unseen(self) -> set[Ticket]:
        """What is ready, and was not read yet."""
        return {each.receipt for each in self._ready}

    async def _take_in(self, count_max: int) -> None:
        """Take over what the engine gave meanwhile, and go on reading."""
        poll = self._go_on(count_max)
        if not poll.done():
            await self._clock.sleep(0)
        if poll.done() and self._poll is poll:
            self._poll = None
            found = poll.result()
            if found:
                await self._admit(found)

    def _go_on(self, count_max: int) -> asyncio.Task[list[Delivery]]:
        """The poll that is under way."""
        if self._poll is None:
            self._poll = asyncio.create_task(self._inner.read(count_max=count_max, wait_ms=_WAIT_MS))
        return self._poll

    def _shed(self) -> None:
        """The application reads nothing: what came for it meanwhile goes back, and what others ask for."""
        asked = [each for each in self._ready if each.receipt.lane and each.receipt.lane.is_closing]
        if asked:
            self._sweep.give_back(self._take_back(asked, 0))
        poll = self._poll
        if poll and poll.done() and not poll.cancelled() and not poll.exception():  # an error is for the next read
            self._poll = None
            self._return_unseen(poll.result())

    def _return_unseen(self, found: list[Delivery]) -> None:
        """To the engine, what never came as far as the lanes."""
        self._gate.gone(found)
        self._sweep.give_back(found)

    async def _admit(self, found: list[Delivery]) -> None:
        self._read_to.saw(found)
        self._hand(self._gate.offer(found, self._clock.monotonic_ms()))
        if fresh := {lane for lane in self._gate.wants() if not self._gate.lanes[lane].was_asked}:
            await self._claim(fresh)
        over = beyond_room(self._gate, self._window_count_max)
        self._sweep.give_back((parked.delivery for parked in over), _OVER_MS)
        self._sweep.look()

    async def _claim(self, lanes: Iterable[int]) -> None:
        async with self._claiming:
            wanted = {lane for lane in lanes if not self._gate.lanes[lane].claimed}
            for lane in wanted:
                self._gate.lanes[lane].was_asked = True
            fences = self._fences
            try:
                granted = await self._part.claim(wanted)
            except (Unavailable, Uncertain):
                return
            if fences != self._fences:  # it lost its lanes meanwhile, these perhaps among them
                await self._part.give_back(granted)
                return
            for lane, states in granted.items():
                self._hand(self._gate.claimed(lane, states))
        self._sweep.look()

    def _hand(self, ready: list[Delivery]) -> None:
        if ready:
            self._ready += ready
            self._news.set()

    async def _wait(self, count_max: int, wait_ms: float) -> None:
        self._news.clear()
        news = asyncio.ensure_future(self._news.wait())
        found = () if self._contact.is_lost else (self._go_on(count_max),)
        try:
            await asyncio.wait({news, *found}, timeout=wait_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    async def _write(self, lanes: Iterable[int] | None = None) -> None:
        """Write down what changed in these lanes (in all, if None). Raises Fenced where one was lost."""
        async with self._writing:
            every = self._gate.lanes.values() if lanes is None else [self._gate.lanes[number] for number in lanes]
            changed = [lane for lane in every if lane.changed]
            if not changed:
                return
            # Taken before the write: what is settled while it is under way is written by the next one.
            taken = [(lane, lane.changed) for lane in changed]
            for lane in changed:
                lane.changed = set()
            day = self._clock.now_ms() // DAY_MS
            states = {lane.number: {s.name: s.write(day) for s in streams} for lane, streams in taken}
            try:
                await self._part.settle(states)
            except BaseException as error:
                for lane, streams in taken:
                    lane.not_written(streams)
                self._contact.wrote(is_known=False)
                if isinstance(error, Fenced):
                    await self._lose(changed)
                raise
            for stream in chain.from_iterable(streams for _, streams in taken):
                stream.was_written()
            if self._contact.wrote(is_known=True):
                self._news.set()

    async def _lose(self, lanes: Iterable[Lane]) -> None:
        """One of these was lost; which of them, and what is true of the others, the next claim says."""
        numbers = {lane.number for lane in lanes}
        self._ready = [d for d in self._ready if d.receipt.lane is None or d.receipt.lane.number not in numbers]
        await self._let_go(numbers)

    async def _let_go(self, numbers: Collection[int], *, is_written: bool = False) -> None:
        """Give lanes back, with what the engine handed out of them that this reader has not settled."""
        async with self._claiming:
            for number in numbers:
                self._sweep.give_back(self._gate.lost(number, is_written=is_written))
            if is_written:
                await self._part.give_back(numbers)
            else:
                self._lost.update(numbers)

    async def _give_up(self, lost: set[int]) -> None:
        """Lanes that were lost before the last report: who claims them knows what is on its way back to the engine."""
        async with self._claiming:
            self._lost -= lost
            try:
                await self._part.give_back([number for number in lost if not self._gate.lanes[number].claimed])
            except BaseException:
                self._lost |= lost
                raise

    async def _always(self, job: Callable[[], Awaitable[None]]) -> None:
        while not self.closed:  # a driver may take a cancellation for an error of its own
            try:
                await job()
            except EvermqError:
                pass  # the store or a rung is away: what is held goes on being held
            except Exception as error:  # a reader whose claims end without a word would stand still
                self._gate.counts.failed += 1
                self._gate.counts.error = repr(error)
            await (self._sweep.wait(_TEND_MS) if job == self._sweep.turn else self._clock.sleep(_TEND_MS))

    async def _tend(self) -> None:
        """Say that this reader lives, and give and take lanes; this asks the store alone, and no rung."""
        lost, quiet, asked_ms = set(self._lost), self._gate.quiet(), self._clock.monotonic_ms()
        try:
            held = self._gate.held(asked_ms)
            renewed = await self._part.renew(Report(self._read_to.report(), held, self._absence.wanted))
        except Fenced:
            self._fences += 1
            await self._lose([lane for lane in self._gate.lanes.values() if lane.claimed])
            self._turns.lost()
            return
        if doubted := [lane for lane in self._gate.lanes.values() if lane.is_doubted]:
            await self._lose(doubted)
        self._reports, self._asked_ms = renewed.reports, asked_ms
        if self._contact.heard(asked_ms):
            self._news.set()
        wanted = self._turns.lanes(renewed.wanted)
        await self._follow(wanted)
        await self._return(wanted - self._lost, quiet)
        await self._give_up(lost)
        await self._turns.turn(renewed.wanted)
        if self._turns.is_away:
            self._shed()

    async def _search(self) -> None:
        """What is held for what never comes goes on."""
        for lane in [each for each in self._gate.lanes.values() if each.is_unlooked]:
            self._hand(self._gate.woken(lane))  # the turn before ended in the midst of it
        await self._collector.turn()
        for lane in await self._overdue.pass_over():
            self._hand(self._gate.woken(lane))
        for lane in await self._absence.prove(self._reports, self._asked_ms):
            self._hand(self._gate.woken(lane))
        await self._gone.turn()  # a rung that stands still is waited for

    async def _return(self, wanted: Collection[int], quiet: Collection[int]) -> None:
        """Give lanes back that another reader asks for, once the application has nothing of them.

        quiet: of which it had nothing any more when the last report was made, so that this tells what it had released.
        """
        for free in self._gate.not_asked_for(wanted):
            self._hand(self._gate.woken(free))
        for number in wanted:
            lane = self._gate.lanes.get(number)
            if lane is None or not lane.claimed:
                await self._part.give_back([number])
                continue
            lane.is_closing = True
            if number in quiet:
                await self._write([number])
                if not lane.changed:
                    self._gate.counts.returned += 1
                    await self._let_go([number], is_written=True)

    async def _follow(self, wanted: Collection[int]) -> None:
        """Ask for the lanes in which something waits that could go on, or for which it is this reader's turn."""
        if waiting := self._gate.wants():
            states = await self._part.look(waiting)
            lanes, old_ms = self._gate.lanes, self._old_ms()
            if asked := {n for n in waiting if n in wanted or lanes[n].may_move(states.get(n, {}), old_ms)}:
                await self._claim(asked)

    def _old_ms(self) -> int:
        """Since when something must have waited for its lane to be asked for whatever the states say."""
        return self._clock.monotonic_ms() - self._absence.patience_ms

    def _check(self) -> None:
        if self.closed:
            raise Closed("this reader was closed: open another one")
