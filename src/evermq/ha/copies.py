"""The copies that a host keeps of messages, in slots that outlive their processes; see retained.py for why."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from evermq.clock import Clock
from evermq.ha.together import close_all
from evermq.message import Message
from evermq.numbers import Number, lane_of_stream, number_of
from evermq.port import Delivery, Queue, Reader, Start
from evermq.settled import Settled
from evermq.settling import COPY, SENT, Held, Wanted
from evermq.slot import HeldSlot, Slots

__all__ = ["Copies", "Copy", "Window", "spans"]

_FOUND_MS = 30_000  # what was sent again is read by then, or it is lost again
_READ_COUNT_MAX = 500
_WINDOW_BYTES_MAX = 16 << 20
_STUCK_MS = 10_000

Spans = dict[str, tuple[int, int]]  # by stream, the first and the last number


@dataclass(slots=True, eq=False, weakref_slot=True)
class Copy:
    """One that was read back. again_ms, times: when it was sent again, and how often. is_elsewhere: another rung has
    taken it then, and this one has not since."""

    message: Message
    number: Number
    since_ms: int
    again_ms: int = 0
    times: int = 0
    is_elsewhere: bool = False

    @property
    def lane(self) -> int:
        """Of its number; on a rung its key says which."""
        return lane_of_stream(self.number.stream)

    def was_sent(self, now_ms: int) -> bool:
        """Not long ago, so that readers may still have to find it."""
        return self.again_ms > 0 and now_ms - self.again_ms < _FOUND_MS

    def is_among(self, wanted: Iterable[Wanted]) -> bool:
        """Whether a reader asks for it."""
        stream, seq = self.number.stream, self.number.seq
        return any(each.stream == stream and each.first <= seq <= each.last for each in wanted)


class Window:
    """The oldest copies that one group needs, read back. dropped: how many it needed no more. beyond: what lies behind
    them, as far as this process copied it, by stream and in the order of the log; between the first and the last number
    there may be others, and what was taken over may be older than what lies before it. moved_ms: when something came
    into it or went last."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.copies: dict[Copy, Delivery] = {}
        self.beyond: dict[str, list[tuple[int, int]]] = {}
        self.dropped = 0
        self.moved_ms = 0

    @property
    def size_bytes(self) -> int:
        return sum(len(copy.message.body) for copy in self.copies)

    def note(self, kept: Spans) -> None:
        """These were copied just now."""
        for stream, (first, last) in kept.items():
            runs = self.beyond.setdefault(stream, [])
            low = runs.pop()[0] if runs and runs[-1][1] < first else first
            runs.append((low, last))

    def saw(self, number: Number) -> None:
        """It was read back, and what lies before it was before."""
        runs = self.beyond.get(number.stream, [])
        at = next((at for at, (first, last) in enumerate(runs) if first <= number.seq <= last), None)
        if at is None:
            return
        left = (number.seq + 1, runs[at][1])
        runs[: at + 1] = [left] if left[0] <= left[1] else []
        if not runs:
            del self.beyond[number.stream]


class Copies:
    """Those of this process, and of those that are gone, which it takes over.

    Each group reads the log of the copies by itself, so that one that settles nothing, since nobody reads it, keeps
    none of the others from what was copied later. windows: by group; a copy is the same object in all of them.
    window_count_max: copies that one holds."""

    def __init__(self, slots: Slots, clock: Clock, groups: Collection[str], *, window_count_max: int) -> None:
        self._slots = slots
        self._clock = clock
        self._groups = groups
        self._window_count_max = window_count_max
        self._slot: HeldSlot | None = None
        self._queue: Queue | None = None
        self._begun = self._ended = 0  # appends
        self._opening = asyncio.Lock()
        self._known: WeakValueDictionary[tuple[str, int], Copy] = WeakValueDictionary()
        self._former: list[Reader] = []  # of groups that need no copies any more
        self.windows: dict[str, Window] = {}

    @property
    def is_empty(self) -> bool:
        return self._slot is None or self._slot.is_empty

    async def keep(self, messages: Sequence[Message]) -> None:
        """They are there once this returns. Raises what the log raises."""
        queue = await self._open()
        assert self._slot
        self._begun += 1
        try:
            self._slot.mark(empty=False)
            step = queue.traits.batch_count_max
            for first in range(0, len(messages), step):
                await queue.append(messages[first : first + step])
        finally:
            self._ended += 1
        kept = _spans_of(number for message in messages if (number := number_of(message)))
        for window in self.windows.values():
            window.note(kept)

    async def adopt(self) -> None:
        """Take over the copies of processes of this host that are gone."""
        while slot := await self._slots.orphan():
            try:
                await self._move(slot)
            finally:
                await slot.release()

    async def fill(self) -> None:
        """Read on, as far as the windows go."""
        for window in self.windows.values():
            await self._fill(window)
        for reader in self._former:
            if found := await reader.read(count_max=self._window_count_max, wait_ms=0):
                await reader.ack(found)

    async def drop(self, window: Window, copies: Collection[Copy]) -> None:
        """This group needs these no more."""
        if copies:
            await window.reader.ack([window.copies[copy] for copy in copies])
            window.moved_ms = self._clock.monotonic_ms()
            window.dropped += len(copies)
            gone = set(copies)
            window.copies = {copy: each for copy, each in window.copies.items() if copy not in gone}

    async def mark(self) -> None:
        """Mark the slot as empty once it is, and nothing came into it while it was asked."""
        assert self._queue
        assert self._slot
        ended = self._ended
        for group, window in self.windows.items():
            if window.copies or await self._queue.backlog(group):
                return
        if self._begun == ended:
            self._slot.mark(empty=True)

    async def close(self) -> None:
        """They stay where they are, for whoever has the topic open on this host."""
        readers = [window.reader for window in self.windows.values()]
        await close_all([*readers, *self._former, *([self._queue] if self._queue else [])])
        await self._slots.close()

    async def _open(self) -> Queue:
        async with self._opening:
            if self._queue is None:
                slot = await self._slots.own()
                queue = await slot.queue()
                # Before the first copy, so that none is overlooked. What was copied before a group was declared is not
                # its own: it would be missed where that group began later.
                for group in self._groups:
                    if group not in self.windows:
                        self.windows[group] = Window(await queue.reader(group, start=Start.NEWEST))
                self._former = [await queue.reader(each) for each in await slot.groups() if each not in self._groups]
                self._slot, self._queue = slot, queue
            return self._queue

    async def _fill(self, window: Window) -> None:
        size, now_ms = window.size_bytes, self._clock.monotonic_ms()
        while len(window.copies) < self._window_count_max and size < _WINDOW_BYTES_MAX:
            begun = self._begun if self._begun == self._ended else -1
            count_max = min(_READ_COUNT_MAX, self._window_count_max - len(window.copies))
            found = await window.reader.read(count_max=count_max, wait_ms=0)
            if not found and begun == self._begun:
                window.beyond.clear()
            if not found:
                return
            window.moved_ms = now_ms
            size += sum(len(delivery.message.body) for delivery in found)
            if superfluous := [delivery for delivery in found if not self._take(window, delivery, now_ms)]:
                await window.reader.ack(superfluous)

    def _take(self, window: Window, delivery: Delivery, now_ms: int) -> bool:
        """False: it is there already, or a foreign one, which nobody could tell from a double."""
        number = number_of(delivery.message)
        if number is None:
            return False
        window.saw(number)
        place = number.stream, number.seq
        copy = self._known.get(place)
        if copy is None:
            copy = self._known[place] = Copy(delivery.message, number, now_ms)
        if copy in window.copies:
            copy.is_elsewhere = False  # from where it went it came here, as what lies in the host's last rung does
            return False
        window.copies[copy] = Delivery(copy.message, delivery.position, delivery.receipt, delivery.attempt)
        return True

    async def _move(self, slot: HeldSlot) -> None:
        queue, known = await slot.queue(), await slot.groups()
        moved: dict[str, Settled] = {}  # by lane: several groups have left the same ones
        try:
            for group in self._groups:
                if group in known:
                    await self._move_of(await queue.reader(group), moved)
        finally:
            await queue.close()
        slot.mark(empty=True)

    async def _move_of(self, reader: Reader, moved: dict[str, Settled]) -> None:
        try:
            while found := await reader.read(count_max=_READ_COUNT_MAX, wait_ms=0):
                fresh = []
                for delivery in found:
                    of_lane = moved.setdefault(delivery.position.lane, Settled())
                    number = 1 + (delivery.position.offset or 0)
                    if number not in of_lane:
                        of_lane.add(number)
                        fresh.append(delivery.message)
                if fresh:
                    await self.keep(fresh)
                await reader.ack(found)
        finally:
            await reader.close()


def _spans_of(numbers: Iterable[Number]) -> Spans:
    found: Spans = {}
    for number in numbers:
        first, last = found.get(number.stream, (number.seq, number.seq))
        found[number.stream] = min(first, number.seq), max(last, number.seq)
    return found


def spans(window: Window, now_ms: int) -> list[Held]:
    """What the readers of its group are told: by stream the first and the last of those that lie here, and were sent
    again.

    What lies behind the window is told as well, so that readers wait until it comes into it; not while it stands still,
    as when all that it holds waits for what is behind it: that cannot be sent, and order yields."""
    sent = _spans_of(copy.number for copy in window.copies if copy.was_sent(now_ms))
    here = _spans_of(copy.number for copy in window.copies if not copy.was_sent(now_ms))
    if now_ms - window.moved_ms < _STUCK_MS:
        for stream, runs in window.beyond.items():
            for first, last in runs:
                low, high = here.get(stream, (first, last))
                here[stream] = min(low, first), max(high, last)
    kinds = ((COPY, here), (SENT, sent))
    return [Held(stream, first, 0, kind, last) for kind, each in kinds for stream, (first, last) in each.items()]
