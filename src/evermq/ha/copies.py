"""The copies that a host keeps of messages, in slots that outlive their processes; see retained.py for why."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from evermq.clock import Clock
from evermq.ha.together import close_all
from evermq.message import Message
from evermq.numbers import Number, lane_of_stream, number_of
from evermq.port import Delivery, Queue, Reader
from evermq.settling import COPY, SENT, Held, Wanted
from evermq.slot import HeldSlot, Slots

__all__ = ["Copies", "Copy", "spans"]

_GROUP = "settled"
_FOUND_MS = 30_000  # what was sent again is read by then, or it is lost again
_READ_COUNT_MAX = 500
_WINDOW_COUNT_MAX = 5_000
_WINDOW_BYTES_MAX = 16 << 20


@dataclass(slots=True, eq=False)
class Copy:
    """One that was read back. settled_by: groups. again_ms, times: when it was sent again, and how often.
    is_elsewhere: another rung has taken it then."""

    delivery: Delivery
    number: Number
    since_ms: int
    settled_by: set[str] = field(default_factory=set)
    again_ms: int = 0
    times: int = 0
    is_elsewhere: bool = False

    @property
    def message(self) -> Message:
        return self.delivery.message

    @property
    def lane(self) -> int:
        """Of its number; on a rung with fewer lanes the remainder."""
        return lane_of_stream(self.number.stream)

    def was_sent(self, now_ms: int) -> bool:
        """Not long ago, so that readers may still have to find it."""
        return self.again_ms > 0 and now_ms - self.again_ms < _FOUND_MS

    def is_among(self, wanted: Iterable[Wanted]) -> bool:
        """Whether a reader asks for it."""
        stream, seq = self.number.stream, self.number.seq
        return any(each.stream == stream and each.first <= seq <= each.last for each in wanted)


class Copies:
    """Those of this process, and of those that are gone, which it takes over. window: the oldest of them, read back."""

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._slot: HeldSlot | None = None
        self._queue: Queue | None = None
        self._reader: Reader | None = None
        self._begun = self._ended = 0  # appends
        self._opening = asyncio.Lock()
        self.window: list[Copy] = []

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

    async def adopt(self) -> None:
        """Take over the copies of processes of this host that are gone."""
        while slot := await self._slots.orphan():
            try:
                await self._move(slot)
            finally:
                await slot.release()

    async def fill(self) -> None:
        """Read on, as far as the window goes."""
        assert self._reader
        size, now_ms = sum(len(copy.message.body) for copy in self.window), self._clock.monotonic_ms()
        while len(self.window) < _WINDOW_COUNT_MAX and size < _WINDOW_BYTES_MAX:
            found = await self._reader.read(count_max=_READ_COUNT_MAX, wait_ms=0)
            if not found:
                return
            for delivery in found:
                size += len(delivery.message.body)
                if number := number_of(delivery.message):
                    self.window.append(Copy(delivery, number, now_ms))
                else:
                    await self._reader.ack([delivery])  # a foreign one: nobody could tell it from a double

    async def drop(self, copies: Collection[Copy]) -> None:
        """These are not needed any more."""
        assert self._reader
        if copies:
            await self._reader.ack([copy.delivery for copy in copies])
            gone = set(copies)
            self.window = [copy for copy in self.window if copy not in gone]
        await self._mark()

    async def close(self) -> None:
        """They stay where they are, for whoever has the topic open on this host."""
        await close_all([each for each in (self._reader, self._queue) if each])
        await self._slots.close()

    async def _open(self) -> Queue:
        async with self._opening:
            if self._queue is None:
                self._slot = await self._slots.own()
                queue = await self._slot.queue()
                self._reader = await queue.reader(_GROUP)  # before the first copy, so that none is overlooked
                self._queue = queue
            return self._queue

    async def _move(self, slot: HeldSlot) -> None:
        queue = await slot.queue()
        reader = await queue.reader(_GROUP)
        try:
            while found := await reader.read(count_max=_READ_COUNT_MAX, wait_ms=0):
                await self.keep([delivery.message for delivery in found])
                await reader.ack(found)
        finally:
            await close_all([reader, queue])
        slot.mark(empty=True)

    async def _mark(self) -> None:
        """Mark the slot as empty once it is, and nothing came into it while it was asked."""
        assert self._queue
        assert self._slot
        ended = self._ended
        if not self.window and not await self._queue.backlog(_GROUP) and self._begun == ended:
            self._slot.mark(empty=True)


def spans(copies: Iterable[Copy], now_ms: int) -> list[Held]:
    """What readers are told of these: by stream the first and the last of those that lie here, and were sent again."""
    first: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    for copy in copies:
        at, seq = (copy.number.stream, SENT if copy.was_sent(now_ms) else COPY), copy.number.seq
        first[at] = min(seq, first.get(at, seq))
        last[at] = max(seq, last.get(at, seq))
    return [Held(stream, seq, 0, kind, last[stream, kind]) for (stream, kind), seq in first.items()]
