"""A place that another process owns, through its socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from evermq.adapters.remote.connection import Connection, ConnectionLost, forget
from evermq.adapters.remote.wire import pack_messages, unpack_deliveries, unpack_positions
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Misconfigured, Uncertain
from evermq.message import Message
from evermq.pause import pause_ms
from evermq.port import Delivery, GroupState, Start, TopicState
from evermq.position import Position
from evermq.traits import Traits

__all__ = ["RemotePlace", "RemoteQueue", "RemoteReader"]


class RemotePlace:
    """See `Place`. One connection for all its queues; when it is lost, everything raises Unavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, path: Path, *, silence_ms: int = 5_000, pid: int = 0, clock: Clock = SYSTEM) -> RemotePlace:
        """Raises Unavailable where nobody answers within silence_ms; `pid` is the owner's, if it is known."""
        return cls(await Connection.open(path, silence_ms=silence_ms, pid=pid, clock=clock))

    @property
    def is_lost(self) -> bool:
        return self._connection.is_lost

    @property
    def pid(self) -> int:
        return self._connection.pid

    async def queue(self, topic: str) -> RemoteQueue:
        traits = msgspec.convert(await self._connection.ask("open", topic), Traits)
        return RemoteQueue(self._connection, topic, traits)

    async def settings(self) -> dict[str, str]:
        """Those of the owner's options that count for all."""
        return dict(await self._told("settings"))

    async def damages(self) -> list[str]:
        """What the owner knows not to be intact, in words."""
        return list(await self._told("damages"))

    async def _told(self, verb: str, *arguments: str) -> Any:
        """What an owner says, nothing of one that is older and does not know the question."""
        try:
            return await self._connection.ask(verb, *arguments)
        except Misconfigured:
            return {}

    async def topics(self) -> list[str]:
        found: list[str] = await self._connection.ask("topics")
        return found

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        differs: list[str] = await self._connection.ask("create", topic, list(groups), lanes)
        return differs

    async def drop(self, topic: str) -> None:
        await self._connection.ask("drop", topic)

    async def describe(self, topic: str) -> TopicState:
        lanes, groups, *appended = await self._connection.ask("describe", topic)  # an older owner does not count
        state = TopicState(lanes, {name: GroupState(*state) for name, state in groups.items()}, *appended)
        return state._replace(settings=await self._told("topic_settings", topic))

    async def reset(self, topic: str, group: str, start: Start) -> None:
        """As the owner's."""
        await self._connection.ask("reset", topic, group, start.at, start.value)

    async def close(self) -> None:
        await self._connection.close()


class RemoteQueue:
    """See `Queue`."""

    def __init__(self, connection: Connection, name: str, traits: Traits) -> None:
        self._connection = connection
        self._closed = False
        self._readers: list[RemoteReader] = []
        self.name = name
        self.traits = traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        """As the owner's. Uncertain where the connection was lost after the request left."""
        self._check()
        if not messages:
            return ()
        try:
            return unpack_positions(await self._connection.ask("append", self.name, pack_messages(messages)))
        except ConnectionLost as error:
            if not error.sent:
                raise
            raise Uncertain(f"the append may have been stored: {error}") from error

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> RemoteReader:
        self._check()
        number = await self._connection.ask("reader", self.name, group, start.at, start.value)
        reader = RemoteReader(self._connection, number)
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        count: int = await self._connection.ask("backlog", self.name, group, lane)
        return count

    async def close(self) -> None:
        self._closed = True
        for reader in self._readers:
            await reader.close()

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


class RemoteReader:
    """See `Reader`. A read that was cancelled goes on at the owner; the next read takes what it brings."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._asked: asyncio.Future[Any] | None = None
        self.closed = False

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        self._check()
        clock = SYSTEM
        until_ms = clock.monotonic_ms() + wait_ms
        while True:
            left_ms = max(0, until_ms - clock.monotonic_ms())
            is_late = self._asked is not None
            if self._asked is None:
                self._asked = self._connection.send("read", self._number, count_max, left_ms)
            found = await self._answer(left_ms if is_late else None)
            if found or not is_late or clock.monotonic_ms() >= until_ms:
                return found

    async def _answer(self, wait_ms: int | None) -> list[Delivery]:
        """What was asked for; an earlier question may still be waited for longer than the present read wants."""
        assert self._asked is not None
        done, _ = await asyncio.wait([self._asked], timeout=None if wait_ms is None else wait_ms / 1000)
        if not done:
            return []
        asked, self._asked = self._asked, None
        self._check()
        return unpack_deliveries(asked.result())

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check()
        await self._connection.ask("ack", self._number, [delivery.receipt for delivery in deliveries])

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        self._check()
        tokens = [delivery.receipt for delivery in deliveries]
        await self._connection.ask("release", self._number, tokens, pause_ms(delay_ms))

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._asked:
                self._asked.add_done_callback(forget)  # what it brings goes back with the reader
            if not self._connection.is_lost:
                try:
                    await self._connection.ask("close_reader", self._number)
                except ConnectionLost:
                    pass  # the owner closes the readers of a connection that ends

    def _check(self) -> None:
        if self.closed:
            raise Closed("this reader was closed: open another one")
