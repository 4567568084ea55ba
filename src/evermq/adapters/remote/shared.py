"""One directory, several processes: the first one owns it and serves the others; when it dies, another takes over.

What an application holds goes on working over a change of owner: queues and readers are opened again at the new one.
Appends under way when an owner dies are Uncertain, one that is closed answers them; what was handed out and not
acknowledged comes again. So it is where an owner opens the directory anew, after a write that failed.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from evermq.adapters.remote.agreed import MayFail, Resets, check_agreed
from evermq.adapters.remote.client import RemotePlace
from evermq.adapters.remote.connection import ConnectionLost
from evermq.adapters.remote.renewal import Renewal
from evermq.adapters.remote.server import Server
from evermq.adapters.remote.shared_queue import SharedQueue
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, EvermqError, Unavailable, Unsupported
from evermq.port import Place, Queue, Start, TopicState

__all__ = ["SharedPlace"]

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
        self._renewal = Renewal(clock, self._renew)
        self._queues: weakref.WeakSet[SharedQueue] = weakref.WeakSet()
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

    def has_left(self, place: Place) -> bool:
        """Whether another one serves now, or is looked for: what this one refused may be asked of that."""
        return place is not self._place and not self._closed

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
        if isinstance(place, MayFail):
            self._renewal.watch(place)
        return place

    async def _renew(self, failed: MayFail) -> None:
        async with self._changing:
            if self._closed or failed is not self._place:
                return
            self._place = None
            _log.warning("%s is opened anew, after a write that failed: its disk takes writes again", self._path.parent)
            await self._let_go(failed)
            with suppress(EvermqError):  # whoever asks next tries again
                self._place = await self._find()
        for queue in list(self._queues):
            with suppress(EvermqError):
                await queue.current()  # who appends without asyncio cannot wait for that

    async def _let_go(self, place: MayFail) -> None:
        if self._server:
            await self._server.close()
            self._server = None
        with suppress(EvermqError):  # what groups did was not flushed: the next owner reads what of it is there
            await place.close()

    async def ask(self, question: Callable[[Place], Awaitable[T]]) -> T:
        """The answer of the present owner, or of the next one; for questions that may be asked twice."""
        while True:
            place = await self.current()
            try:
                return await question(place)
            except ConnectionLost as error:
                if error.silent:
                    raise
            except Closed:
                if not self.has_left(place):
                    raise

    async def queue(self, topic: str) -> SharedQueue:
        async def opened(place: Place) -> SharedQueue:
            return SharedQueue(self, place, await self.queue_at(place, topic))

        queue = await self.ask(opened)
        self._queues.add(queue)
        return queue

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
            self._renewal.end()
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
