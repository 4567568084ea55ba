"""The topics of one virtual host: the control plane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evermq.adapters.inspection import over_all
from evermq.adapters.rabbitmq.link import Link
from evermq.adapters.rabbitmq.management import Management, demand
from evermq.adapters.rabbitmq.options import RabbitOptions
from evermq.adapters.rabbitmq.publisher import Publisher
from evermq.adapters.rabbitmq.queue import RabbitQueue
from evermq.adapters.rabbitmq.readers import Readers
from evermq.adapters.rabbitmq.registry import Registry
from evermq.adapters.rabbitmq.seen import SHOWN, Seen
from evermq.adapters.rabbitmq.topic import Control, Topic, queue_of
from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, Denied, Misconfigured, NoSuchTopic, Rejected, Unavailable, Unsupported
from evermq.port import GroupState, Start, TopicState
from evermq.topics import check_group, check_lanes, check_topic

__all__ = ["RabbitPlace"]

_LANES = 4


class RabbitPlace:
    """See `Place`. sending, receiving: connections of their own, because a server that is short of memory stops
    reading from those that publish. message_bytes_max: what the server takes. management: tells what AMQP does not."""

    def __init__(
        self,
        sending: Link,
        receiving: Link,
        options: RabbitOptions,
        *,
        message_bytes_max: int,
        management: Management | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._sending = sending
        self._receiving = receiving
        self._options = options
        self._management = management
        self._control = Control(receiving)
        self._registry = Registry(options.registry, self._control, receiving, options.timeout_ms)
        self._readers: dict[tuple[str, str], Readers] = {}
        self._queues: list[RabbitQueue] = []
        self._closed = False
        self._ending = Ending()
        self.message_bytes_max = message_bytes_max
        self.clock = clock

    async def queue(self, topic: str) -> RabbitQueue:
        """The queue of a topic. Raises NoSuchTopic."""
        found = await self.find(topic)
        if self._options.lanes not in (None, found.lanes):
            raise Misconfigured(f"topic {topic} has {found.lanes} lanes, not lanes = {self._options.lanes}")
        durable = await demand(self._options.required, self._management, topic)
        publisher = Publisher(found, self._sending, self._options.timeout_ms)
        queue = RabbitQueue(found, self, publisher, durable)
        self._queues = [each for each in self._queues if not each.is_over]
        self._queues.append(queue)
        return queue

    async def topics(self) -> list[str]:
        self._check()
        return sorted(await self._registry.topics())

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        self._check()
        check_topic(topic)
        for group in groups:
            check_group(group)
        if lanes is not None:
            check_lanes(lanes)
        wanted = lanes or self._options.lanes
        made = await self._registry.change(topic, wanted or _LANES, tuple(groups))
        await self._control.make(made)
        if wanted in (None, made.lanes):
            return []
        return [f"topic {topic} has {made.lanes} lanes, not {wanted}; it keeps them"]

    async def drop(self, topic: str) -> None:
        found = await self.find(topic)
        await self._control.drop(found)
        await self._registry.forget(topic)

    async def drop_group(self, topic: str, group: str) -> None:
        """Delete a group's queues with what is in them; what ends half-way is finished by the next try. Raises
        NoSuchTopic where there is no such group, Rejected while it has readers, anywhere."""
        found = await self._with_group(topic, check_group(group))
        if await self._control.is_read(found, group):
            raise Rejected(f"group {group} of topic {topic} has readers: close them, then drop it")
        await self._control.drop_group(found, group)
        await self._registry.leave(topic, group)

    async def describe(self, topic: str) -> TopicState:
        """RabbitMQ does not tell how old the oldest message is without taking it, so that is None: a message that is
        taken and given back counts a delivery more, and may come out of order."""
        found = await self.find(topic)
        states = {}
        for group in found.groups:
            states[group] = GroupState(await self.backlog(found, group, range(found.lanes)), None)
        return TopicState(found.lanes, states, settings=await self._settings(topic))

    async def reset(self, topic: str, group: str, start: Start) -> None:
        """Raises NoSuchTopic, else always Unsupported."""
        await self._with_group(topic, group)
        raise Unsupported(
            f"group {group} of topic {topic} cannot be moved: a RabbitMQ queue keeps nothing that its group has "
            "settled, and hands out the rest from its head; to skip what waits, purge the queues of the group"
        )

    async def _settings(self, topic: str) -> dict[str, str]:
        """Of the queues of all its groups; AMQP tells none of them."""
        unknown = dict.fromkeys(SHOWN, "unknown")
        if self._management is None:
            return unknown
        try:
            queues = await self._management.queues(topic)
        except (Denied, Unavailable):
            return unknown
        return over_all(each.shown for each in queues.values())

    async def find(self, topic: str) -> Topic:
        """What the registry says of a topic. Raises NoSuchTopic."""
        self._check()
        found = (await self._registry.topics()).get(check_topic(topic))
        if found is None:
            raise NoSuchTopic(f"there is no topic {topic}: evermq topics create URL --groups a,b makes it")
        return found

    async def _with_group(self, topic: str, group: str) -> Topic:
        """A topic that has this group. Raises NoSuchTopic."""
        found = await self.find(topic)
        if group not in found.groups:
            raise NoSuchTopic(f"topic {topic} has no group {group}: evermq topics create URL --groups {group} makes it")
        return found

    def readers(self, topic: Topic, group: str) -> Readers:
        """Those of a group in this process."""
        name = (topic.name, group)
        if name not in self._readers:
            prefetch = self._options.prefetch
            self._readers[name] = Readers(topic, group, self._receiving, self._control, prefetch, self.clock)
        return self._readers[name]

    async def backlog(self, topic: Topic, group: str, lanes: Iterable[int]) -> int:
        """What the lanes' queues have, and what readers have of it: those in this process, and where the management
        plugin tells it, those elsewhere."""
        readers, elsewhere = self.readers(topic, group), await self._elsewhere(topic, group)
        found = 0
        for lane in lanes:
            queue = queue_of(topic.name, group, lane)
            state = await self._control.state(queue)
            found += state.ready + max(readers.held(lane), elsewhere[queue].unsettled if queue in elsewhere else 0)
        return found

    async def _elsewhere(self, topic: Topic, group: str) -> dict[str, Seen]:
        """What is held of each queue, as of the server's last statistics; not asked where all readers are here."""
        readers = self.readers(topic, group)
        if self._management is None or await readers.count() <= readers.reading:
            return {}
        return await self._management.queues(topic.name, group)

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        for queue in self._queues:
            await queue.close()
        for readers in self._readers.values():
            await readers.close()
        await self._sending.close()
        await self._receiving.close()

    def _check(self) -> None:
        if self._closed:
            raise Closed("this place was closed: open another one")
