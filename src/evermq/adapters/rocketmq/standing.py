"""Where groups stand in a topic, as its brokers tell."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.remoting import Remoting
from evermq.adapters.rocketmq.topic import Topic
from evermq.errors import Misconfigured, NoSuchTopic
from evermq.port import Start

__all__ = ["Standing"]


class Standing(NamedTuple):
    """admin, masters: of the brokers that have queues of the topic."""

    admin: Admin
    masters: Mapping[str, Remoting]
    topic: Topic

    def _queues(self, lane: str | None = None) -> Iterator[tuple[Remoting, int]]:
        """Those of the topic; a lane is a number of a queue, on every broker."""
        for name, count in self.topic.queues.items():
            if name in self.masters:
                yield from ((self.masters[name], queue) for queue in range(count) if lane in (None, str(queue)))

    async def has(self, group: str) -> bool:
        """Whether the group has begun here."""
        server, queue = next(self._queues())
        return await self.admin.offset(server, self.topic.wire_name, group, queue) is not None

    async def begin(self, group: str, start: Start) -> None:
        """Let a group that has not begun do so where `start` says. Raises NoSuchTopic where there is no such group."""
        for server, queue in self._queues():
            if await self.admin.offset(server, self.topic.wire_name, group, queue) is None:
                if not await self.admin.has_group(group, server):
                    raise NoSuchTopic(f"there is no group {group}: evermq topics create URL --groups {group} makes it")
                offset = await self._offset(server, queue, start)
                await self.admin.set_offset(server, self.topic.wire_name, group, queue, offset)

    async def reset(self, group: str, start: Start) -> None:
        """Move a group."""
        for server, queue in self._queues():
            offset = await self._offset(server, queue, start)
            await self.admin.reset(server, self.topic.wire_name, group, queue, offset)

    async def _offset(self, server: Remoting, queue: int, start: Start) -> int:
        topic = self.topic.wire_name
        if start.at == "time":
            return await self.admin.offset_at(server, topic, queue, start.value)
        first = await self.admin.bound(server, topic, queue, end=False)
        if start.at == "oldest":
            return first
        last = await self.admin.bound(server, topic, queue, end=True)
        return last if start.at == "newest" else min(max(first, start.value), last)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        """What is not handed out yet, what comes again, and what waits for its time."""
        found = await asyncio.gather(
            *(self._left(server, self.topic.wire_name, group, queue) for server, queue in self._queues(lane))
        )
        if lane is not None:
            return sum(found)
        return sum(found) + sum(await asyncio.gather(*map(self._aside, self.masters.values(), [group] * 99)))

    async def _aside(self, server: Remoting, group: str) -> int:
        again = await self._left(server, f"%RETRY%{group}_{self.topic.wire_name}", group, 0)
        return again + (await self.admin.delayed(server, self.topic.wire_name) if self.topic.kind == "delay" else 0)

    async def _left(self, server: Remoting, topic: str, group: str, queue: int) -> int:
        end, offset = await asyncio.gather(
            self.admin.bound(server, topic, queue, end=True), self.admin.offset(server, topic, group, queue)
        )
        if offset is None:
            offset = await self.admin.bound(server, topic, queue, end=False)
        return max(0, end - offset)

    async def oldest_ms(self, group: str, now_ms: int) -> int | None:
        """The age of the oldest message that was not handed out yet."""
        times = await asyncio.gather(*(self._stored_ms(server, group, queue) for server, queue in self._queues()))
        stored = [each for each in times if each is not None]
        return max(0, now_ms - min(stored)) if stored else None

    async def _stored_ms(self, server: Remoting, group: str, queue: int) -> int | None:
        topic = self.topic.wire_name
        offset = await self.admin.offset(server, topic, group, queue)
        if offset is None or offset >= await self.admin.bound(server, topic, queue, end=True):
            return None
        return await self.admin.stored_ms(server, topic, queue, offset)

    def check_lane(self, lane: str) -> None:
        """Raises Misconfigured."""
        most = max(self.topic.queues.values())
        if not lane.isdecimal() or int(lane) >= most:
            raise Misconfigured(f'lane "{lane}": {self.topic.name} has lanes 0 to {most - 1}')
