"""The topics of one RocketMQ: the control plane."""

from __future__ import annotations

from collections.abc import Sequence

from evermq.adapters.inspection import over_all
from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.group import Group
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.adapters.rocketmq.protocol import service
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.adapters.rocketmq.queue import RocketQueue
from evermq.adapters.rocketmq.remoting import Remoting
from evermq.adapters.rocketmq.standing import Standing
from evermq.adapters.rocketmq.topic import Topic, listed, shown, topic_of, wire_topic
from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, Denied, EvermqError, Misconfigured, NoSuchTopic, Unavailable, Uncertain
from evermq.port import GroupState, Start, TopicState
from evermq.topics import check_group, check_lanes
from evermq.traits import Durable

__all__ = ["RocketPlace"]

_LANES = 4
_APPEAR_MS, _APPEAR_POLL_MS = 30_000, 50  # the proxy may learn of a topic late


class RocketPlace:
    """See `Place`. durable: what the brokers' settings keep."""

    def __init__(
        self, proxy: Proxy, admin: Admin, options: RocketOptions, *, durable: Durable, clock: Clock = SYSTEM
    ) -> None:
        self._admin = admin
        self._groups: dict[tuple[str, str], Group] = {}
        self._queues: list[RocketQueue] = []
        self._closed = False
        self._ending = Ending()
        self.proxy, self.options, self.durable, self.clock = proxy, options, durable, clock

    async def queue(self, topic: str) -> RocketQueue:
        """The queue of a topic. Raises NoSuchTopic, Misconfigured."""
        found = await self.find(topic)
        if self.options.lanes not in (None, found.lanes):
            raise Misconfigured(f"topic {topic} has {found.lanes} lanes, not lanes = {self.options.lanes}")
        if found.kind == "fifo" and found.lanes > 1:
            raise Misconfigured(f"topic {topic} is FIFO with {found.lanes} queues: the proxy keeps no order over them")
        queue = RocketQueue(found, self)
        self._queues = [each for each in self._queues if not each.is_over]
        self._queues.append(queue)
        return queue

    async def topics(self) -> list[str]:
        self._check()
        return sorted(name.replace("%", ".") for name in await self._admin.topics())

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        self._check()
        wire = wire_topic(topic)
        for group in groups:
            check_group(group)
        if lanes is not None:
            check_lanes(lanes)
        wanted = lanes or self.options.lanes
        masters = await self._admin.masters()
        if not await self._admin.has_topic(wire, masters):  # the proxy remembers for a while what it did not find
            await self._make(wire, wanted or _LANES, masters)
        found = await self._appears(topic)
        standing = await self._standing(found)
        for group in map(found.wire_group, groups):
            await self._admin.make_group(group, ordered=found.kind == "fifo", masters=standing.masters)
            await standing.begin(group, Start.OLDEST)
        if wanted in (None, found.lanes):
            return []
        return [f"topic {topic} has {found.lanes} lanes, not {wanted}; it keeps them"]

    async def _make(self, wire: str, lanes: int, masters: dict[str, Remoting]) -> None:
        if self.options.kind == "fifo":  # the proxy keeps an order in one queue alone
            lanes, masters = 1, {min(masters): masters[min(masters)]}
        await self._admin.make_topic(wire, self.options.kind, -(-lanes // len(masters)), masters)

    async def _appears(self, topic: str) -> Topic:
        until_ms = self.clock.monotonic_ms() + _APPEAR_MS
        while True:
            try:
                return await self.find(topic)
            except (NoSuchTopic, Unavailable):
                if self.clock.monotonic_ms() > until_ms:
                    raise Unavailable(f"topic {topic} was made, but the proxy does not know it yet") from None
                await self.clock.sleep(_APPEAR_POLL_MS)

    async def drop(self, topic: str) -> None:
        found = await self.find(topic)
        await self._admin.drop_topic(found.wire_name)

    async def drop_group(self, topic: str, group: str) -> None:
        """Take a group away, from all topics: RocketMQ keeps a group when its topic is dropped. Raises NoSuchTopic."""
        wire = (await self.find(topic)).wire_group(group)
        masters = await self._admin.masters()
        if not any([await self._admin.has_group(wire, master) for master in masters.values()]):
            raise NoSuchTopic(f"topic {topic} has no group {group}")
        await self._admin.drop_group(wire, masters)

    async def describe(self, topic: str) -> TopicState:
        """The age is that of the oldest message that no reader was given yet."""
        found = await self.find(topic)
        standing = await self._standing(found)
        states = {}
        for wire in await self._admin.groups_of(found.wire_name, standing.masters):
            group = found.group_of(wire)
            backlog = await self.backlog(found, group)
            oldest_ms = await standing.oldest_ms(wire, self.clock.now_ms())
            states[group] = GroupState(backlog, oldest_ms if backlog else None)
        return TopicState(found.lanes, states, settings=await self._settings(found))

    async def _settings(self, topic: Topic) -> dict[str, str]:
        """Of the topic, and of the brokers that have it: how long they keep messages, and on how many disks."""
        try:
            brokers = over_all(
                shown(each) for name, each in (await self._admin.settings()).items() if name in topic.queues
            )
        except Denied:
            brokers = shown({})
        return {"message.type": topic.kind.upper(), "queues": listed(topic.queues), **brokers}

    async def reset(self, topic: str, group: str, start: Start) -> None:
        """Move a group to an offset or time within what is kept. Raises NoSuchTopic."""
        found = await self.find(topic)
        standing = await self._standing(found)
        if not await standing.has(found.wire_group(group)):
            raise NoSuchTopic(f"topic {topic} has no group {group}")
        await standing.reset(found.wire_group(group), start)

    async def find(self, topic: str) -> Topic:
        """What the proxy knows of a topic. Raises NoSuchTopic."""
        self._check()
        request = service.QueryRouteRequest()
        request.topic.name = wire_topic(topic)
        try:
            answer = await self.proxy.ask("QueryRoute", request, f"look for topic {topic}")
        except NoSuchTopic:
            if await self.brokers_have(topic):
                raise Unavailable(f"the brokers have topic {topic}, but the proxy does not know it yet") from None
            raise NoSuchTopic(f"there is no topic {topic}: evermq topics create URL --groups a,b makes it") from None
        except Uncertain as error:
            raise Unavailable(str(error)) from None
        return topic_of(topic, answer.message_queues)

    async def look(self, topic: Topic) -> None:
        """Let a topic know the queues that it has by now, from a name server: a proxy tells what it remembers. Raises
        Unavailable."""
        try:
            topic.reach(await self._admin.queues(topic.wire_name))
        except NoSuchTopic:
            pass  # perhaps its brokers are away: who asks them will see
        except Uncertain as error:
            raise Unavailable(str(error)) from None

    async def brokers_have(self, topic: str) -> bool:
        """A broker that has just come back is unknown to the proxy for a while, which then denies its topics. Where no
        broker says anything, it may have it."""
        if not self.options.name_servers:
            return False
        try:
            masters = await self._admin.masters()
            return not masters or await self._admin.has_topic(wire_topic(topic), masters)
        except EvermqError:
            return True

    def group(self, topic: Topic, name: str) -> Group:
        """What readers of a group share in this process. The group has begun in the queues of the topic."""
        key = (topic.name, name)
        if key not in self._groups:
            self._groups[key] = Group(self, topic, topic.wire_group(name))
        self._groups[key].reach(topic.queues)
        return self._groups[key]

    async def begin(self, topic: Topic, group: str, start: Start) -> None:
        """See that a group is there. Raises NoSuchTopic, Unavailable: a group that was placed stays where it is."""
        try:
            await (await self._standing(topic)).begin(topic.wire_group(group), start)
        except Uncertain as error:
            raise Unavailable(str(error)) from None

    async def backlog(self, topic: Topic, group: str, lane: str | None = None) -> int:
        """What brokers have for the group, and what readers of this process have in hand."""
        standing = await self._standing(topic)
        wire = topic.wire_group(group)
        if not await standing.has(wire):
            raise NoSuchTopic(f"topic {topic.name} has no group {group}")
        if lane is not None:
            standing.check_lane(lane)
        here = self._groups.get((topic.name, group))
        if topic.kind == "fifo" or here is None:  # a FIFO group stands before what is in hand
            return await standing.backlog(wire, lane)
        held = sum(lane in (None, item.position.lane) for item in here.window.items.values())
        return held + await standing.backlog(wire, lane)

    async def _standing(self, topic: Topic) -> Standing:
        masters = await self._admin.masters()
        there = {name: masters[name] for name in topic.queues if name in masters}
        if len(there) < len(topic.queues):
            raise Unavailable(f"topic {topic.name}: a broker of it has no master at the moment")
        return Standing(self._admin, there, topic)

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        for queue in self._queues:
            await queue.close()
        for group in self._groups.values():
            await group.close()
        await self.proxy.close()
        await self._admin.close()

    def _check(self) -> None:
        if self._closed:
            raise Closed("this place was closed: open another one")
