"""Topics in memory under one roof; a queue that was closed can be opened again and finds everything."""

from __future__ import annotations

from collections.abc import Sequence

from evermq.adapters.memory.queue import MemoryQueue
from evermq.adapters.memory.topic import Topic
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, NoSuchTopic, Rejected
from evermq.port import GroupState, Start, TopicState
from evermq.topics import check_group, check_lanes, check_topic

__all__ = ["MemoryPlace"]


class MemoryPlace:
    """See `Place`. lanes, count_max, message_bytes_max: of topics made from now on, as for MemoryQueue."""

    def __init__(
        self,
        *,
        lanes: int = 8,
        count_max: int = 100_000,
        message_bytes_max: int = 16 << 20,
        clock: Clock = SYSTEM,
    ) -> None:
        self._lanes = lanes
        self._count_max = count_max
        self._message_bytes_max = message_bytes_max
        self._clock = clock
        self._topics: dict[str, Topic] = {}
        self._queues: list[MemoryQueue] = []
        self._closed = False

    async def queue(self, topic: str) -> MemoryQueue:
        """The queue of a topic, which is made if it is missing."""
        queue = MemoryQueue(topic, topic=self._make(topic, self._lanes))
        self._queues = [each for each in self._queues if not each.is_over]
        self._queues.append(queue)
        return queue

    async def topics(self) -> list[str]:
        self._check()
        return sorted(self._topics)

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        for group in groups:
            check_group(group)
        made = self._make(topic, self._lanes if lanes is None else lanes)
        for group in groups:
            made.group(group, Start.OLDEST)
        if lanes in (None, len(made.lanes)):
            return []
        return [f"topic {topic} has {len(made.lanes)} lanes, not {lanes}; it keeps them"]

    async def drop_group(self, topic: str, group: str) -> None:
        """See `DropsGroups`."""
        groups = self._find(topic).groups
        if group not in groups:
            raise NoSuchTopic(f"topic {topic} has no group {group}")
        if groups[group].readers:
            raise Rejected(f"group {group} has readers: close them, then drop it")
        groups.pop(group).end()

    async def drop(self, topic: str) -> None:
        self._find(topic).dropped = True
        for group in self._topics.pop(topic).groups.values():
            group.wake()

    async def describe(self, topic: str) -> TopicState:
        found = self._find(topic)
        now_ms = self._clock.now_ms()
        groups = {}
        for name in found.groups:
            oldest = found.oldest_ms(name)
            groups[name] = GroupState(found.backlog(name, None), None if oldest is None else max(0, now_ms - oldest))
        settings = {"count_max": str(self._count_max), "message_bytes_max": str(self._message_bytes_max)}
        return TopicState(len(found.lanes), groups, sum(lane.end for lane in found.lanes), settings)

    async def close(self) -> None:
        self._closed = True
        for queue in self._queues:
            await queue.close()

    def _make(self, topic: str, lanes: int) -> Topic:
        self._check()
        check_lanes(lanes)
        found = self._topics.get(check_topic(topic))
        if found is None:
            found = Topic(topic, lanes, self._count_max, self._message_bytes_max, self._clock)
            self._topics[topic] = found
        return found

    def _find(self, topic: str) -> Topic:
        self._check()
        if topic not in self._topics:
            raise NoSuchTopic(f"there is no topic {topic}")
        return self._topics[topic]

    def _check(self) -> None:
        if self._closed:
            raise Closed("this place was closed: open another one")
