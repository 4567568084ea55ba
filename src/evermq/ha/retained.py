"""What a rung below the first has acknowledged stays on the sender's host as well, until every group has settled it.

A standby that fails over, or is emptied, loses what it had acknowledged last; the numbers of the messages say what the
groups have not settled, and what is then neither settled nor left in the rung is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError, Fenced, NoSuchTopic, Partial, Unsupported
from evermq.ha.copies import Copies, Copy, Window, spans
from evermq.lanes import lane_of
from evermq.message import Message
from evermq.port import Queue
from evermq.position import Position
from evermq.settled import Settled
from evermq.settling import Bounded, Part, Progress, Report
from evermq.slot import Slots

__all__ = ["Retained", "RetainedCounts"]

Send = Callable[[Sequence[Message]], Awaitable[Sequence[Position]]]
_KEEP_S = 0.5  # what a disk that hangs costs an append, which the rung has acknowledged already
_LATE_MAX = 4  # batches that it has not taken by then; beyond it there are no more copies, which would all be held here
_TELL_MS = 200
_TURNS_A_LOOK, _TURNS_A_LOOK_MAX = 5, 25
_PATIENCE_MS = 2_000  # before the rung is asked what it has left
_SENT_COUNT_MAX = 500
_WINDOW_COUNT_MAX = 5_000
_LANES_MAX = 16  # asked for one by one in one look
_TIMES_MAX = 10  # a message is sent again: a group that begins later takes none of what was before its time
_ALL = -1  # in the place of a lane: of the whole rung


@dataclass(slots=True)
class RetainedCounts:
    """Messages. unkept: acknowledged without a copy, since the host's disk took none. dropped: copies that no
    group needs any more. replayed: sent again, since the rung had lost them."""

    kept: int = 0
    unkept: int = 0
    dropped: int = 0
    replayed: int = 0


class Retained:
    """Copies of what one rung of a ladder has acknowledged. slots: of the host, for the copies alone.

    groups: all that have to settle a message, as `progress` knows it, before its copy is dropped; each has a window on
    its own oldest copies, of `window_count_max` messages, so that none waits for another one. send: where a message
    goes again that the rung has lost. That is so where a group has fewer messages left in the rung, or in one of its
    lanes, than there are copies that it has not settled: the rung is asked first, so that what is settled meanwhile is
    missing from the copies and not from the rung. What cannot be asked says nothing, nor does a store where no reader
    of the group was ever seen: it may be another one than theirs. Nor does a rung whose lanes have no ends, as those of
    RabbitMQ and RocketMQ: it counts only what nobody holds.

    Readers are told of the copies, so that none takes what the rung has lost for something that is nowhere: they ask
    for it instead. A message that is sent again without need is a double by its number, and is dropped.

    error: the last thing that went wrong.
    """

    def __init__(
        self,
        rung: Queue,
        slots: Slots,
        *,
        progress: Progress,
        groups: Collection[str],
        send: Send,
        window_count_max: int = _WINDOW_COUNT_MAX,
        clock: Clock = SYSTEM,
    ) -> None:
        self.counts = RetainedCounts()
        self.error = ""
        self._rung = rung
        self._copies = Copies(slots, clock, tuple(groups), window_count_max=window_count_max)
        self._window_count_max = window_count_max
        self._progress = progress
        self._send = send
        self._clock = clock
        self._parts: dict[str, Part] = {}
        self._read: set[str] = set()  # groups whose readers are known to write to the same store
        self._turn = 0
        self._replaying: set[str] = set()  # ids of what is being sent again
        self._came_back: set[str] = set()  # and of what of it the rung has taken once more
        self._late: set[asyncio.Future[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Look after the copies from now on, those of processes that are gone included; again is harmless."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def keep(self, messages: Sequence[Message]) -> None:
        """Copy what the rung has just acknowledged. What fails, or takes long, is counted: the rung has them."""
        if self._replaying:
            self._came_back.update(each.id for each in messages if each.id in self._replaying)
            messages = [each for each in messages if each.id not in self._replaying]
        if not messages:
            return
        if len(self._late) >= _LATE_MAX:
            self.counts.unkept += len(messages)
            return
        keeping = asyncio.ensure_future(self._copies.keep(messages))
        keeping.add_done_callback(_look_at)
        # Not cancelled, since an append would be waited for all the same.
        await asyncio.wait([keeping], timeout=_KEEP_S)
        if not keeping.done():
            self._late.add(keeping)
            keeping.add_done_callback(self._late.discard)
        error = keeping.exception() if keeping.done() and not keeping.cancelled() else None
        if keeping.done() and not error:
            self.counts.kept += len(messages)
            return
        self.counts.unkept += len(messages)
        self.error = str(error) if error else f"the log of copies did not answer within {_KEEP_S:g} s"

    async def look(self) -> int:
        """Drop the copies of what is settled, and send again what is neither settled nor left in the rung; returns how
        many that concerned."""
        if self._copies.is_empty:
            return 0
        await self._copies.fill()
        self._turn += 1
        windows = self._copies.windows
        count = sum([await self._look(group, window) for group, window in windows.items()])
        self.counts.dropped = min((window.dropped for window in windows.values()), default=0)
        await self._copies.mark()
        return count

    async def _look(self, group: str, window: Window) -> int:
        old_ms = self._clock.monotonic_ms() - _PATIENCE_MS
        old = [copy for copy in window.copies if copy.since_ms <= old_ms]
        lefts = await self._lefts(group, old)
        settled = await self._settled(group, window.copies)
        lost = self._lost([copy for copy in old if copy not in settled and not copy.is_elsewhere], lefts)
        done = [copy for copy in window.copies if copy in settled or not self._is_needed(copy)]
        await self._copies.drop(window, done)
        again = [copy for copy in lost if copy in window.copies]
        await self._send_again(again)
        return len(done) + len(again)

    async def tell(self) -> None:
        """Tell the readers of every group which numbers may still come from here, and send what they ask for."""
        if self._copies.is_empty:
            await self._leave()
            return
        await self._copies.fill()
        for group, window in self._copies.windows.items():
            part, now_ms = await self._part(group), self._clock.monotonic_ms()
            try:
                renewed = await part.renew(Report(held=spans(window, now_ms)))
            except Fenced:
                continue  # it was silent for too long, and is heard of again the next time
            if any(report.at for report in renewed.reports):
                self._read.add(group)
            wanted = [each for report in renewed.reports for each in report.wanted]
            if wanted:
                here = [copy for copy in window.copies if not copy.was_sent(now_ms) and copy.is_among(wanted)]
                await self._send_again(here)

    async def close(self) -> None:
        """The copies stay where they are, for whoever has the topic open on this host."""
        self._closed = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._leave()
        except EvermqError as error:
            self.error = str(error)
        await self._copies.close()

    async def _watch(self) -> None:
        rest = pause = _TURNS_A_LOOK
        turn = 0
        while not self._closed:  # an error of cleaning up hides a cancellation
            await self._clock.sleep(_TELL_MS)
            turn, rest = turn + 1, rest - 1
            try:
                if turn % _TURNS_A_LOOK == 0:  # of those of a process that is gone no reader is told meanwhile
                    await self._copies.adopt()
                if rest <= 0:
                    # While nothing is settled, as behind a deep backlog, there is nothing to be asked for either.
                    count = await self.look()
                    pause = _TURNS_A_LOOK if count else min(2 * pause, _TURNS_A_LOOK_MAX)
                    rest = pause if count < self._window_count_max else 1  # there may be as much again behind it
                await self.tell()
            except Exception as error:  # a watch that ended without a word would keep the copies for ever
                self.error = repr(error)

    async def _part(self, group: str) -> Part:
        if group not in self._parts:
            self._parts[group] = await self._progress.join(group)
        return self._parts[group]

    async def _leave(self) -> None:
        parts, self._parts = self._parts, {}
        for part in parts.values():
            await part.leave()

    async def _lefts(self, group: str, old: Sequence[Copy]) -> dict[int, int]:
        """By lane, what the rung has left for a group; nothing where it does not say so."""
        found: dict[int, int] = {}
        if not (old and group in self._read and await self._counts_what_is_out()):
            return found
        try:
            found[_ALL] = await self._rung.backlog(group)
            for lane in self._lanes_in_turn(old) if found[_ALL] else ():
                found[lane] = await self._rung.backlog(group, str(lane))
        except NoSuchTopic:
            return {_ALL: 0}
        except EvermqError as error:
            self.error = str(error)
        return found

    async def _counts_what_is_out(self) -> bool:
        """Whether a backlog has what readers hold as well: not so where a rung does not tell the ends of its lanes."""
        if not isinstance(self._rung, Bounded):
            return False
        try:
            await self._rung.end("0")
        except Unsupported:
            return False
        except EvermqError:
            pass  # it may say so at another time; the backlog is asked for next
        return True

    def _lanes_in_turn(self, old: Sequence[Copy]) -> list[int]:
        """Some of the lanes, and others the next time."""
        lanes = list(dict.fromkeys(self._lane(copy) for copy in old))
        first = self._turn * _LANES_MAX % len(lanes)
        return (lanes[first:] + lanes[:first])[:_LANES_MAX]

    def _lane(self, copy: Copy) -> int:
        return lane_of(copy.message.key or b"", self._rung.traits.lanes)

    async def _settled(self, group: str, copies: Iterable[Copy]) -> set[Copy]:
        """Those of them that a group has."""
        by_stream: dict[str, list[Copy]] = {}
        for copy in copies:
            by_stream.setdefault(copy.number.stream, []).append(copy)
        if not by_stream:
            return set()
        lanes = {mine[0].lane for mine in by_stream.values()}
        states = await (await self._part(group)).look(lanes, by_stream.keys())
        packed = {name: text for streams in states.values() for name, text in streams.items()}
        known = {name: Settled.unpack(packed[name]) for name in by_stream.keys() & packed.keys()}
        return {copy for name, settled in known.items() for copy in by_stream[name] if copy.number.seq in settled}

    def _is_needed(self, copy: Copy) -> bool:
        if copy.is_elsewhere and not copy.was_sent(self._clock.monotonic_ms()):
            return False
        return copy.times < _TIMES_MAX

    def _lost(self, old: Sequence[Copy], lefts: Mapping[int, int]) -> list[Copy]:
        lost: set[Copy] = set()
        for lane, left in lefts.items():
            there = old if lane == _ALL else [copy for copy in old if self._lane(copy) == lane]
            if len(there) > left:
                lost.update(there)
        return [copy for copy in old if copy in lost]

    async def _send_again(self, copies: Sequence[Copy]) -> None:
        for first in range(0, len(copies), _SENT_COUNT_MAX):
            part = copies[first : first + _SENT_COUNT_MAX]
            self._replaying = {copy.message.id for copy in part}
            try:
                await self._send([copy.message for copy in part])
            except Partial as error:
                part = [copy for copy, each in zip(part, error.outcomes, strict=True) if isinstance(each, Position)]
            finally:
                back, self._came_back, self._replaying = self._came_back, set(), set()
            for copy in part:
                copy.since_ms = copy.again_ms = self._clock.monotonic_ms()
                copy.times += 1
                copy.is_elsewhere = copy.message.id not in back
            self.counts.replayed += len(part)


def _look_at(ended: asyncio.Future[None]) -> None:
    if not ended.cancelled():
        ended.exception()  # it was told where somebody still waited
