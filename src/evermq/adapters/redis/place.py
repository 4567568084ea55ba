"""The topics of one Redis (or cluster): the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from evermq.adapters.inspection import over_all
from evermq.adapters.redis.dropping import drop_group
from evermq.adapters.redis.entry import appended_ms
from evermq.adapters.redis.lane import TOPICS
from evermq.adapters.redis.options import RedisOptions
from evermq.adapters.redis.queue import RedisQueue
from evermq.adapters.redis.settings import Settings
from evermq.adapters.redis.topic import Topic
from evermq.adapters.redis.wire import Wire
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, NoSuchTopic
from evermq.port import GroupState, Start, TopicState
from evermq.topics import check_group, check_lanes, check_topic

__all__ = ["RedisPlace"]

_LANES = 128


class RedisPlace:
    """See `Place`."""

    def __init__(self, wire: Wire, options: RedisOptions, *, clock: Clock = SYSTEM) -> None:
        self._wire = wire
        self._options = options
        self._clock = clock
        self._topics: dict[str, Topic] = {}
        self._queues: list[RedisQueue] = []
        self._closed = False

    async def queue(self, topic: str) -> RedisQueue:
        """The queue of a topic. Raises NoSuchTopic, unless the URL says create=yes."""
        try:
            found = await self._find(topic)
        except NoSuchTopic:
            if not self._options.create:
                raise
            found = self._topics.setdefault(topic, self._topic(topic))
            await found.make(self._options.lanes or _LANES, [], keep=True)
        found.check_lanes()
        queue = RedisQueue(found)
        self._queues = [each for each in self._queues if not each.is_over]
        self._queues.append(queue)
        return queue

    async def topics(self) -> list[str]:
        self._check()
        return sorted(name.decode() for name in await self._wire.tell(TOPICS, "SMEMBERS", TOPICS))

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        self._check()
        check_topic(topic)
        for group in groups:
            check_group(group)
        if lanes is not None:
            check_lanes(lanes)
        wanted = lanes or self._options.lanes
        made = self._topics.setdefault(topic, self._topic(topic))
        await made.make(wanted or _LANES, groups, keep=self._options.create)
        if wanted in (None, len(made.lanes)):
            return []
        return [f"topic {topic} has {len(made.lanes)} lanes, not {wanted}; it keeps them"]

    async def change_lanes(self, topic: str, lanes: int) -> None:
        """Give a topic another number of lanes. What is in the old ones is read first, so order per key is kept.

        Raises NoSuchTopic, Misconfigured; Unavailable where somebody else changed it meanwhile.
        """
        check_lanes(lanes)
        await (await self._find(topic)).relane(lanes)

    async def reset(self, topic: str, group: str, start: Start) -> None:
        """Move a group to an offset or time within what is kept; its readers lose their lanes.

        Raises NoSuchTopic where topic or group does not exist.
        """
        found = await self._find(topic)
        if group not in found.groups:
            raise NoSuchTopic(f"topic {topic} has no group {group}")
        await found.join(group, start, again=True)

    async def drop_group(self, topic: str, group: str) -> None:
        """See `DropsGroups`. What the last group had not settled goes with it."""
        await drop_group(await self._find(topic), check_group(group))

    async def drop(self, topic: str) -> None:
        """What ended half-way is finished by the next try."""
        self._check()
        await (self._topics.get(check_topic(topic)) or self._topic(topic)).drop()
        self._topics.pop(topic, None)

    async def describe(self, topic: str) -> TopicState:
        found = await self._find(topic)
        states = [state for state in await found.state(found.every_lane) if state]
        now_ms = self._clock.now_ms()
        groups = {group: _group_state(states, group, now_ms) for group in found.groups}
        appended = sum(end for _, _, _, end, *_ in states)
        return TopicState(len(found.lanes), groups, appended, await self._settings())

    async def close(self) -> None:
        self._closed = True  # a close that was cut is ended by the next one
        await asyncio.gather(*(queue.close() for queue in self._queues))
        await self._wire.close()

    async def _settings(self) -> dict[str, str]:
        """Of all servers that take writes. A topic has none of its own: what every group has settled goes."""
        return over_all([(await Settings.read(each)).shown for each in await self._wire.topology.servers()])

    async def _find(self, topic: str) -> Topic:
        self._check()
        found = self._topics.get(check_topic(topic)) or self._topic(topic)
        await found.load()
        return self._topics.setdefault(topic, found)

    def _topic(self, name: str) -> Topic:
        return Topic(name, self._wire, self._options, self._clock)

    def _check(self) -> None:
        if self._closed:
            raise Closed("this place was closed: open another one")


def _group_state(states: Sequence[list[Any]], group: str, now_ms: int) -> GroupState:
    """Over all lanes; the age is that of the oldest entry, by the clock of who appended it."""
    backlog, heads = 0, []
    for _, delayed, first, _, *groups in states:
        backlog += delayed
        heads.append(first)
        names = [name.decode() for name in groups[::3]]
        if group in names:
            row = 3 * names.index(group)
            backlog += groups[row + 1]
            heads.append(groups[row + 2])
    times = [appended_ms(head) for head in heads if head]
    return GroupState(backlog, max(0, now_ms - min(times)) if times else None)
