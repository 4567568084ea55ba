"""A queue and its readers that go on working over a change of their directory's owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

from msgspec.structs import replace

from evermq.adapters.remote.connection import ConnectionLost
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, Misconfigured, Unavailable
from evermq.message import Message
from evermq.port import AppendsBlocking, Delivery, Place, Queue, Reader, Start
from evermq.position import Position
from evermq.settling import Bounded
from evermq.traits import Traits

__all__ = ["SharedQueue", "SharedReader"]

T = TypeVar("T")


class Sharing(Protocol):
    """What a queue needs to know of its place."""

    loop: asyncio.AbstractEventLoop

    def is_served_by(self, place: Place) -> bool: ...
    def has_left(self, place: Place) -> bool: ...
    async def ask(self, question: Callable[[Place], Awaitable[T]]) -> T: ...
    async def queue_at(self, place: Place, topic: str) -> Queue: ...


class SharedQueue:
    """See `Queue`; also `AppendsBlocking`: in the owning process the calling thread writes itself, in the others it is
    Misconfigured in the loop that the append needs."""

    def __init__(self, shared: Sharing, place: Place, queue: Queue) -> None:
        self._shared = shared
        self._closed = False
        self._moving = asyncio.Lock()
        self._use(queue, place)

    def _use(self, queue: Queue, place: Place) -> None:
        self._queue, self._place = queue, place
        self._blocking = queue if isinstance(queue, AppendsBlocking) else None  # to ask costs as much as an append

    @property
    def name(self) -> str:
        return self._queue.name

    @property
    def traits(self) -> Traits:
        return self._queue.traits

    async def current(self) -> Queue:
        """The queue at the present owner."""
        self._check()
        return await self._shared.ask(self._at)

    async def _at(self, place: Place) -> Queue:
        if place is not self._place:
            async with self._moving:  # who asks meanwhile gets the same queue, for readers of two would be two
                if place is not self._place:
                    self._use(await self._shared.queue_at(place, self.name), place)
        return self._queue

    def has_left(self, queue: Queue) -> bool:
        """Whether another owner's is used now, or looked for: what this one refused may be asked of that."""
        return not self._closed and (queue is not self._queue or self._shared.has_left(self._place))

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        while True:
            is_current = not self._closed and self._shared.is_served_by(self._place)
            queue = self._queue if is_current else await self.current()
            try:
                return await queue.append(messages)
            except ConnectionLost as error:
                if error.silent:
                    raise
                # It had not left yet: the next owner gets it.
            except Closed:
                if not self.has_left(queue):
                    raise

    def append_blocking(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if self._blocking:
            return self._blocking.append_blocking(messages)
        if asyncio._get_running_loop() is self._shared.loop:
            raise Misconfigured(
                f"queue {self.name} was appended to without asyncio in its own loop, by a handler that is a coroutine "
                "function, say, and would wait for itself: make that a plain function, or await `append`"
            )
        return asyncio.run_coroutine_threadsafe(self.append(messages), self._shared.loop).result()

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> SharedReader:
        reader = SharedReader(self, group, start)
        await reader.current()
        return reader

    async def end(self, lane: str) -> int:
        """See `evermq.settling.Bounded`; Unavailable through the socket, which does not carry it."""

        async def asked(place: Place) -> int:
            queue = await self._at(place)
            if not isinstance(queue, Bounded):
                raise Unavailable(f"{self.name}: another process owns the log, and does not tell where its lanes end")
            return await queue.end(lane)

        self._check()
        return await self._shared.ask(asked)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        async def asked(place: Place) -> int:
            return await (await self._at(place)).backlog(group, lane)

        self._check()
        return await self._shared.ask(asked)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._queue.close()

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


class SharedReader:
    """See `Reader`. A delivery of an earlier owner cannot be acknowledged any more: it comes again.

    At an owner there is one reader for this one, however many of its calls are under way: what another one was handed
    could not be settled here, and its lanes would stand still as long as this process lives."""

    def __init__(self, queue: SharedQueue, group: str, start: Start) -> None:
        self._queue = queue
        self._group = group
        self._start = start
        self._at: Queue | None = None
        self._reader: Reader | None = None
        self._generation = 0
        self._opening = asyncio.Lock()
        self._ending = Ending()
        self._closed = False

    async def current(self) -> tuple[Reader, int]:
        """The reader at the present owner, and how many there were so far."""
        self._check()
        at = await self._queue.current()
        if self._reader is None or at is not self._at:
            async with self._opening:
                self._check()
                at = await self._queue.current()
                if self._reader is None or at is not self._at:
                    self._reader = await at.reader(self._group, start=self._start)
                    self._at = at
                    self._generation += 1
        return self._reader, self._generation

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        while True:
            try:
                reader, generation = await self.current()
                found = await reader.read(count_max=count_max, wait_ms=wait_ms)
            except ConnectionLost as error:
                if error.silent:
                    raise
                continue
            except Closed:
                if not self._has_left():
                    raise
                continue
            return [replace(each, receipt=(generation, each.receipt)) for each in found]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        reader, generation = await self.current()
        if mine := _of(generation, deliveries):
            with self._unless_left():
                await reader.ack(mine)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        reader, generation = await self.current()
        if mine := _of(generation, deliveries):
            with self._unless_left():
                await reader.release(mine, delay_ms=delay_ms)

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        async with self._opening:
            if self._reader:
                with suppress(EvermqError):  # its owner went, and closed it so
                    await self._reader.close()

    @contextmanager
    def _unless_left(self) -> Iterator[None]:
        """What an owner has not settled that is left meanwhile comes again from the next."""
        try:
            yield
        except Closed:
            if not self._has_left():
                raise

    def _has_left(self) -> bool:
        return not self._closed and self._at is not None and self._queue.has_left(self._at)

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"this reader of group {self._group} was closed: open another one")


def _of(generation: int, deliveries: Sequence[Delivery]) -> list[Delivery]:
    return [replace(each, receipt=each.receipt[1]) for each in deliveries if each.receipt[0] == generation]
