"""A topic in memory behind the port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evermq.adapters.memory.reader import MemoryReader
from evermq.adapters.memory.topic import Topic
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Misconfigured
from evermq.message import Message
from evermq.port import Start
from evermq.position import Position
from evermq.topics import check_group, check_lanes, check_topic

__all__ = ["MemoryQueue"]


class MemoryQueue:
    """See `Queue`. A queue of its own, unless it is handed a topic that others share.

    lanes: 1 at least. count_max: messages kept, delayed ones included; beyond it append raises Overloaded.
    message_bytes_max: body, key and headers together; beyond it append raises TooLarge.
    """

    def __init__(
        self,
        name: str,
        *,
        lanes: int = 8,
        count_max: int = 100_000,
        message_bytes_max: int = 16 << 20,
        clock: Clock = SYSTEM,
        topic: Topic | None = None,
    ) -> None:
        check_lanes(lanes)
        self._topic = topic or Topic(check_topic(name), lanes, count_max, message_bytes_max, clock)
        self._readers: list[MemoryReader] = []
        self._closed = False
        self.is_over = False
        self.name = self._topic.name
        self.traits = self._topic.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        await asyncio.sleep(0)  # as with any engine: others may run meanwhile
        self._check()
        return self._topic.append(messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
        self._check()
        if start.at not in ("oldest", "newest", "time", "offset"):
            raise Misconfigured(f'start "{start.at}": give oldest, newest, time or offset')
        reader = MemoryReader(self._topic, self._topic.group(check_group(group), start))
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        if lane is None:
            return self._topic.backlog(group, None)
        if lane not in (each.name for each in self._topic.lanes):
            raise Misconfigured(f'lane "{lane}": {self.name} has lanes 0 to {self.traits.lanes - 1}')
        return self._topic.backlog(group, int(lane))

    async def end(self, lane: str) -> int:
        """See `evermq.settling.Bounded`."""
        self._check()
        return next((each.end for each in self._topic.lanes if each.name == lane), 0)

    async def close(self) -> None:
        self._closed = True
        for reader in self._readers:
            reader.shut()
        self.is_over = True

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")
        if self._topic.dropped:
            raise Closed(f"topic {self.name} was dropped: create it again")
