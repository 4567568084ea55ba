"""A reader that hands out each number once, behind the number before it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, EvermqError, Fenced, Unavailable, Uncertain
from evermq.policy.absence import Absence
from evermq.policy.gate import UNPROVED, Gate, GateCounts, Lane
from evermq.port import Delivery, Queue, Reader
from evermq.settling import Part, Report

__all__ = ["OrderedReader"]

_TEND_MS = 100
_RETURN_MS = 200
_WAIT_MS = 1_000


class OrderedReader:
    """See `Reader`. A lane is handled by the reader that has claimed it, on all rungs; what comes too early is held,
    unacknowledged, until what is before it is settled. Tends in the background to claims, and to what it holds."""

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
        clock: Clock = SYSTEM,
    ) -> None:
        self._inner = inner
        self._part = part
        self._clock = clock
        self._hold_ms_max = hold_ms_max
        self._window_count_max = window_count_max
        self._gate = Gate(part=part, has_order=has_order)
        self._absence = Absence(self._gate, rungs, group, clock)
        self._ready: list[Delivery] = []
        self._at: dict[str, int] = {}
        self._poll: asyncio.Task[list[Delivery]] | None = None
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self._claiming = asyncio.Lock()
        self._tending = asyncio.create_task(self._tend_always())
        self.closed = False

    @property
    def counts(self) -> GateCounts:
        """What was held, dropped, flagged and returned so far."""
        return self._gate.counts

    @property
    def hold_ms(self) -> int:
        """How long the oldest message that is held has waited; 0 where there is none."""
        oldest = min((p.since_ms for lane in self._gate.lanes.values() for p in lane.parked), default=None)
        return 0 if oldest is None else self._clock.monotonic_ms() - oldest

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        until_ms = self._clock.monotonic_ms() + wait_ms
        while True:
            self._check()
            if len(self._ready) < count_max:
                await self._take_in(count_max)
            if self._ready:
                found, self._ready = self._ready[:count_max], self._ready[count_max:]
                return found
            left_ms = until_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                return []
            await self._wait(left_ms)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        tickets = self._gate.own(deliveries)
        for lane in self._gate.settle(tickets):
            self._hand(self._gate.woken(lane))
        await self._write({ticket.lane.number for ticket in tickets if ticket.lane})
        await self._inner.ack([ticket.inner for ticket in tickets if ticket.is_settled])

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        back = self._gate.release(self._gate.own(deliveries))
        gone = {id(ticket) for ticket in back}
        self._ready = [each for each in self._ready if id(each.receipt) not in gone]
        await self._inner.release([ticket.inner for ticket in back], delay_ms=delay_ms)

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for task in (self._tending, self._poll):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        try:
            await self._inner.close()
        finally:
            try:
                await self._part.leave()
            except (Unavailable, Uncertain):
                pass  # its claims end when it is silent for long enough

    async def _take_in(self, count_max: int) -> None:
        """Take over what the engine gave meanwhile, and go on reading."""
        if self._poll is None:
            self._poll = asyncio.create_task(self._inner.read(count_max=count_max, wait_ms=_WAIT_MS))
            await self._clock.sleep(0)
        if self._poll.done():
            poll, self._poll = self._poll, None
            found = poll.result()
            if found:
                await self._admit(found)

    async def _admit(self, found: list[Delivery]) -> None:
        for delivery in found:
            lane, offset, via = delivery.position
            if offset is not None:
                place = f"{'/'.join(via)}/{lane}"
                self._at[place] = max(self._at.get(place, 0), offset + 1)
        self._hand(self._gate.offer(found, self._clock.monotonic_ms()))
        fresh = {lane for lane in self._gate.wants() if not self._gate.lanes[lane].was_asked}
        if fresh:
            await self._claim(fresh)
        await self._sweep()
        await self._bound_windows()

    async def _claim(self, lanes: Iterable[int]) -> None:
        async with self._claiming:
            wanted = {lane for lane in lanes if not self._gate.lanes[lane].claimed}
            for lane in wanted:
                self._gate.lanes[lane].was_asked = True
            try:
                granted = await self._part.claim(wanted)
            except (Unavailable, Uncertain):
                return
            for lane, states in granted.items():
                self._hand(self._gate.claimed(lane, states))
        await self._sweep()

    def _hand(self, ready: list[Delivery]) -> None:
        if ready:
            self._ready += ready
            self._news.set()

    async def _wait(self, wait_ms: float) -> None:
        self._news.clear()
        news = asyncio.ensure_future(self._news.wait())
        waiting = {news, self._poll} if self._poll else {news}
        try:
            await asyncio.wait(waiting, timeout=wait_ms / 1000, return_when=asyncio.FIRST_COMPLETED)
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
            states = {lane.number: {s.name: s.settled.pack() for s in streams} for lane, streams in taken}
            try:
                await self._part.settle(states)
            except BaseException as error:
                for lane, streams in taken:
                    lane.changed |= {stream for stream in streams if lane.streams.get(stream.name) is stream}
                if isinstance(error, Fenced):
                    await self._lose(changed)
                raise

    async def _lose(self, lanes: list[Lane]) -> None:
        """One of these was lost; which of them, and what is true of the others, the next claim says."""
        numbers = {lane.number for lane in lanes}
        self._ready = [d for d in self._ready if d.receipt.lane is None or d.receipt.lane.number not in numbers]
        for number in numbers:
            await self._let_go(number)

    async def _let_go(self, number: int) -> None:
        """Give a lane back, with what the engine handed out of it that this reader has not settled."""
        async with self._claiming:
            lane = self._gate.lanes[number]
            out = [ticket.inner for stream in lane.streams.values() for ticket in stream.out.values()]
            self._gate.lost(number)
            await self._part.give_back([number])
        if out:
            await self._inner.release(out, delay_ms=_RETURN_MS)

    async def _sweep(self) -> None:
        """Acknowledge what nobody has to see, once what makes it superfluous is written down."""
        drops, self._gate.drops = self._gate.drops, []
        try:
            await self._write()
            if drops:
                await self._inner.ack(drops)
        except (Unavailable, Uncertain):
            self._gate.drops += drops

    async def _bound_windows(self) -> None:
        """What a lane holds beyond its window goes back to the engine for a while."""
        for lane in self._gate.lanes.values():
            if len(lane.parked) > self._window_count_max:
                over = self._gate.overflow(lane, self._window_count_max)
                await self._inner.release([parked.delivery for parked in over], delay_ms=_RETURN_MS)

    async def _tend_always(self) -> None:
        while not self.closed:
            await self._clock.sleep(_TEND_MS)
            try:
                await self._tend()
            except EvermqError:
                continue  # the store is away: what is held goes on being held
            except Exception as error:  # a reader whose claims end without a word would stand still
                self._gate.counts.failed += 1
                self._gate.counts.error = repr(error)

    async def _tend(self) -> None:
        await self._sweep()
        renewed = await self._part.renew(Report(dict(self._at), self._gate.held(self._clock.monotonic_ms())))
        await self._follow(renewed.wanted)
        self._pass_over_old()
        for lane in await self._absence.prove(renewed.reports):
            self._hand(self._gate.woken(lane))
        await self._return(renewed.wanted)
        await self._sweep()

    async def _return(self, wanted: Iterable[int]) -> None:
        """Give lanes back that another reader asks for, once the application has nothing of them."""
        for number in wanted:
            lane = self._gate.lanes.get(number)
            if lane is None or not lane.claimed:
                await self._part.give_back([number])
                continue
            lane.is_closing = True
            if lane.out == 0:
                await self._write([number])
                if lane.out == 0 and not lane.changed:
                    self._gate.counts.returned += 1
                    await self._let_go(number)

    async def _follow(self, wanted: Collection[int]) -> None:
        """Ask for the lanes in which something waits that could go on, or for which it is this reader's turn."""
        waiting = self._gate.wants()
        if waiting:
            states = await self._part.look(waiting)
            may_move, old_ms = self._gate.may_move, self._old_ms()
            asked = {n for n in waiting if n in wanted or may_move(n, states.get(n, {}), old_ms)}
            if asked:
                await self._claim(asked)

    def _old_ms(self) -> int:
        """Since when something must have waited for its lane to be asked for whatever the states say."""
        return self._clock.monotonic_ms() - self._absence.patience_ms

    def _pass_over_old(self) -> None:
        if self._hold_ms_max is None:
            return
        until_ms = self._clock.monotonic_ms() - self._hold_ms_max
        for lane in self._gate.lanes.values():
            if lane.claimed and lane.parked and lane.out == 0:
                for parked in [p for p in lane.parked if p.since_ms <= until_ms]:
                    if parked.number.prev:
                        self._gate.pass_over(lane, parked, UNPROVED)
                self._hand(self._gate.woken(lane))

    def _check(self) -> None:
        if self.closed:
            raise Closed("this reader was closed: open another one")
