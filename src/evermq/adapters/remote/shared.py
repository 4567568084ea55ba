"""One directory, several processes: the first one owns it and serves the others; when it dies, another takes over.

What an application holds goes on working over a change of owner: queues and readers are opened again at the new one.
Appends under way when an owner dies are Uncertain, one that is closed answers them; what was handed out and not
acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import replace

from evermq.adapters.remote.agreed import Resets, check_agreed
from evermq.adapters.remote.client import RemotePlace
from evermq.adapters.remote.connection import ConnectionLost
from evermq.adapters.remote.server import Server
from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, Misconfigured, Unavailable, Unsupported
from evermq.message import Message
from evermq.port import AppendsBlocking, Delivery, Place, Queue, Reader, Start, TopicState
from evermq.position import Position
from evermq.settling import Bounded
from evermq.traits import Traits

__all__ = ["SharedPlace", "SharedQueue", "SharedReader"]

_log = logging.getLogger("evermq.log")
T = TypeVar("T")
Own = Callable[[], Awaitable[Place]]


class SharedPlace:
    """See `Place`. own: opens the place as its owner, or raises an Unavailable that has the owner's `pid`.

    silence_ms: how long an owner may be silent before calls fail with an error that names its process. asked: settings
    that an owner has to keep to. lanes: of topics that are made through this, None for as many as the owner gives.
    """

    def __init__(
        self,
        own: Own,
        path: Path,
        *,
        silence_ms: int = 5_000,
        clock: Clock = SYSTEM,
        asked: Mapping[str, str] = MappingProxyType({}),
        lanes: int | None = None,
    ) -> None:
        self._own = own
        self._path = path
        self._silence_ms = silence_ms
        self._clock = clock
        self._asked = asked
        self._lanes = lanes
        self._place: Place | None = None
        self._server: Server | None = None
        self._changing = asyncio.Lock()
        self._closed = False
        self.loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls,
        own: Own,
        path: Path,
        *,
        silence_ms: int = 5_000,
        clock: Clock = SYSTEM,
        asked: Mapping[str, str] = MappingProxyType({}),
        lanes: int | None = None,
    ) -> SharedPlace:
        """Own the place or connect to who does. Raises Misconfigured where that one keeps to other settings."""
        shared = cls(own, path, silence_ms=silence_ms, clock=clock, asked=asked, lanes=lanes)
        await shared.current()
        return shared

    @property
    def is_owner(self) -> bool:
        return self._server is not None

    def is_served_by(self, place: Place) -> bool:
        """Whether it is this one that serves just now, as far as is known here."""
        return place is self._place and not self._closed and not _is_lost(place)

    async def current(self) -> Place:
        """The place as it is served now. Raises Unavailable where nobody serves it for silence_ms."""
        self._check()
        if self._place and not _is_lost(self._place):
            return self._place
        async with self._changing:
            self._check()
            if self._place is None or _is_lost(self._place):
                lost, self._place = self._place, None
                if lost:
                    await lost.close()
                self._place = await self._find()
            return self._place

    async def _find(self) -> Place:
        until_ms = self._clock.monotonic_ms() + self._silence_ms
        while True:
            self._check()
            try:
                return await self._become_owner()
            except Unavailable as owned:
                pid = getattr(owned, "pid", None)
                if pid is None:
                    raise
            try:
                return await self._connect(pid)
            except ConnectionLost as error:
                # It may be about to serve, or about to be gone.
                if error.silent or self._clock.monotonic_ms() > until_ms:
                    raise
            await self._clock.sleep(20)

    async def _connect(self, pid: int) -> RemotePlace:
        place = await RemotePlace.connect(self._path, silence_ms=self._silence_ms, pid=pid)
        try:
            if self._asked:
                check_agreed(str(self._path.parent), self._asked, await place.settings(), place.pid)
            for damage in await place.damages():
                _log.warning("%s, owned by process %d: %s", self._path.parent, place.pid, damage)
        except BaseException:
            await place.close()
            raise
        return place

    async def _become_owner(self) -> Place:
        place = await self._own()
        try:
            self._server = await Server.start(place, self._path)
        except OSError as error:
            await place.close()
            raise Unavailable(f"{self._path} cannot be made: {error.strerror}; see to the directory") from error
        except BaseException:
            await place.close()
            raise
        return place

    async def ask(self, question: Callable[[Place], Awaitable[T]]) -> T:
        """The answer of the present owner, or of the next one; for questions that may be asked twice."""
        while True:
            place = await self.current()
            try:
                return await question(place)
            except ConnectionLost as error:
                if error.silent:
                    raise

    async def queue(self, topic: str) -> SharedQueue:
        async def opened(place: Place) -> SharedQueue:
            return SharedQueue(self, place, await self.queue_at(place, topic))

        return await self.ask(opened)

    async def queue_at(self, place: Place, topic: str) -> Queue:
        """The queue of a topic there, which is made as it was asked for here if it is missing."""
        if self._lanes:
            await place.create(topic, lanes=self._lanes)
        return await place.queue(topic)

    async def topics(self) -> list[str]:
        return await self.ask(lambda place: place.topics())

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        return await self.ask(lambda place: place.create(topic, groups=groups, lanes=lanes or self._lanes))

    async def drop(self, topic: str) -> None:
        await (await self.current()).drop(topic)

    async def describe(self, topic: str) -> TopicState:
        return await self.ask(lambda place: place.describe(topic))

    async def reset(self, topic: str, group: str, start: Start) -> None:
        """As the owner's. Unsupported where that cannot."""

        async def moved(place: Place) -> None:
            if not isinstance(place, Resets):
                raise Unsupported(f"{self._path}: its owner cannot move a group")
            await place.reset(topic, group, start)

        await self.ask(moved)

    async def close(self) -> None:
        self._closed = True
        async with self._changing:  # who looks for the next owner may have become it
            if self._server:
                await self._server.close()
                self._server = None
            if self._place:
                await self._place.close()
                self._place = None

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"{self._path.parent} was closed: open it again")


def _is_lost(place: Place) -> bool:
    return isinstance(place, RemotePlace) and place.is_lost


class SharedQueue:
    """See `Queue`; also `AppendsBlocking`: in the owning process the calling thread writes itself, in the others it is
    Misconfigured in the loop that the append needs."""

    def __init__(self, shared: SharedPlace, place: Place, queue: Queue) -> None:
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
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")
        return await self._shared.ask(self._at)

    async def _at(self, place: Place) -> Queue:
        if place is not self._place:
            async with self._moving:  # who asks meanwhile gets the same queue, for readers of two would be two
                if place is not self._place:
                    self._use(await self._shared.queue_at(place, self.name), place)
        return self._queue

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

    def append_blocking(self, messages: Sequence[Message]) -> Sequence[Position]:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")
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
        queue = await self.current()
        if not isinstance(queue, Bounded):
            raise Unavailable(f"{self.name}: another process owns the log, and does not tell where its lanes end")
        return await queue.end(lane)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        while True:
            queue = await self.current()
            try:
                return await queue.backlog(group, lane)
            except ConnectionLost as error:
                if error.silent:
                    raise

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._queue.close()


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
            return [replace(each, receipt=(generation, each.receipt)) for each in found]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        reader, generation = await self.current()
        mine = _of(generation, deliveries)
        if mine:
            await reader.ack(mine)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        reader, generation = await self.current()
        mine = _of(generation, deliveries)
        if mine:
            await reader.release(mine, delay_ms=delay_ms)

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        async with self._opening:
            if self._reader:
                with suppress(EvermqError):  # its owner went, and closed it so
                    await self._reader.close()

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"this reader of group {self._group} was closed: open another one")


def _of(generation: int, deliveries: Sequence[Delivery]) -> list[Delivery]:
    return [replace(each, receipt=each.receipt[1]) for each in deliveries if each.receipt[0] == generation]
