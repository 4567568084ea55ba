"""A Kafka cluster: its topics and groups, and what this process has open there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka.admin import OffsetSpec

from evermq.adapters.kafka.admin import Admin
from evermq.adapters.kafka.batch import COMPRESSIONS
from evermq.adapters.kafka.membership import Membership
from evermq.adapters.kafka.offsets import Committed, Offsets
from evermq.adapters.kafka.peek import timestamps
from evermq.adapters.kafka.progress import is_of_another_topic, unpack
from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.kafka.reader import KafkaReader
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.topic import Topic, deletions, weaknesses
from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, Misconfigured, NoSuchTopic, Rejected, Unavailable
from evermq.port import GroupState, Start, TopicState
from evermq.topics import check_group, check_lanes, check_topic
from evermq.traits import Durable

__all__ = ["KafkaPlace"]

_log = logging.getLogger("evermq.kafka")

_SEEN_TRIES, _SEEN_PAUSE_MS = 100, 50


class KafkaPlace:
    """See `Place`. Made by `connect`; belongs to the loop that it was made in."""

    def __init__(self, settings: Settings, admin: Admin, sender: Sender, clock: Clock = SYSTEM) -> None:
        self.settings = settings
        self.sender = sender
        self.admin = admin
        self.offsets = Offsets(sender.client)
        self.clock = clock
        self.compression = _compression(settings)
        self._memberships: dict[tuple[str, str], Membership] = {}
        self._opening: dict[tuple[str, str], asyncio.Lock] = {}
        self._queues: list[KafkaQueue] = []
        self._warned: set[str] = set()
        self._closed = False
        self._ending = Ending()

    async def queue(self, topic: str) -> KafkaQueue:
        """The queue of a topic that exists. Raises NoSuchTopic: `create` makes topics, nothing else does."""
        found = await self._find(topic)
        self.sender.watch(topic)
        self._judge(found)
        queue = KafkaQueue(self, found)
        self._queues = [each for each in self._queues if not each.is_over]
        self._queues.append(queue)
        return queue

    async def nodes(self) -> int:
        """See `HasNodes`."""
        self.check()
        return await self.admin.ping()

    async def topics(self) -> list[str]:
        self.check()
        return await self.admin.topics()

    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        """Topics that are made have the replicas and the retention that the URL says."""
        self.check()
        check_topic(topic)
        if lanes is not None:
            check_lanes(lanes)
        for group in groups:
            check_group(group)
        settings = self.settings
        count = lanes or settings.lanes
        await self.admin.create(topic, lanes=count, replicas=settings.replicas, config=settings.retention)
        found = await self._seen(topic)
        for group in groups:
            await self._starts(found, group, Start.OLDEST)
        return _differences(found, lanes, settings)

    async def drop(self, topic: str) -> None:
        """The offsets of its groups go with it."""
        await self._find(topic)
        for (name, _), membership in list(self._memberships.items()):
            if name == topic:
                await membership.end()
        await self.admin.drop(topic)
        for _ in range(_SEEN_TRIES):
            if topic not in await self.admin.topics():
                return
            await self.clock.sleep(_SEEN_PAUSE_MS)

    async def describe(self, topic: str) -> TopicState:
        found = await self._find(topic)
        first = await self._bounds(found, OffsetSpec.earliest())
        ends = await self._bounds(found, OffsetSpec.latest())
        bounds = {lane: (first[lane], end) for lane, end in ends.items()}
        groups: dict[str, GroupState] = {}
        prefix = self.settings.group_prefix
        for name in await self.admin.groups():
            if name.startswith(prefix) and (state := await self._state(found, name.removeprefix(prefix), bounds)):
                groups[name.removeprefix(prefix)] = state
        return TopicState(found.lanes, groups, sum(ends.values()), found.settings)

    async def drop_group(self, topic: str, group: str) -> None:
        """See `DropsGroups`. What the group has of other topics stays; one that has nothing any more Kafka removes."""
        found = await self._find(topic)
        committed = await self.offsets.committed(self.settings.group_prefix + check_group(group), topic, found.lanes)
        if not committed:
            raise NoSuchTopic(f"topic {topic} has no group {group}")
        if not await self.offsets.delete(self.settings.group_prefix + group, topic, committed):
            raise Rejected(f"group {group} has readers: close them, then drop it")

    async def reset(self, topic: str, group: str, start: Start) -> None:
        """Let a group begin again at `start`. Raises NoSuchTopic for one that does not exist, Rejected while it has
        readers, anywhere."""
        found = await self._find(topic)
        if not await self._committed(found, check_group(group)):
            raise NoSuchTopic(f"topic {topic} has no group {group}: evermq topics create URL --groups {group} makes it")
        offsets = await self._offsets(found, start)
        if not await self.offsets.commit(self.settings.group_prefix + group, topic, offsets):
            raise Rejected(f"group {group} has readers: close them, then reset it")

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        await asyncio.gather(*(queue.close() for queue in self._queues))
        await asyncio.gather(*(membership.end() for membership in list(self._memberships.values())))
        await self.offsets.close()
        await self.sender.close()
        await self.admin.close()

    def check(self) -> None:
        """Raise Closed where this place serves no more."""
        if self._closed:
            raise Closed("this place was closed: open another one")

    async def read(self, topic: Topic, group: str, start: Start, *, at_once: bool = False) -> KafkaReader:
        """A reader; the first one of a group makes this process a member, and the group if it is new."""
        key = (topic.name, group)
        async with self._opening.setdefault(key, asyncio.Lock()):
            membership = self._memberships.get(key)
            if membership is None or membership.is_ending:
                if membership:
                    await membership.end()
                    if membership.topic_id != topic.id:
                        start = Start.OLDEST  # the group is as old as the topic
                membership = await self._member(topic, group, start, at_once=at_once)
            return KafkaReader(membership, self.clock)

    async def end(self, topic: Topic, lane: int, lanes: int) -> int:
        """The offset that the next record of the lane will get. Raises Unavailable where there are other lanes than the
        `lanes` that the queue appends to, since others put the messages of a key elsewhere, and where the topic was
        made anew, until it is read: what was read before is none of it."""
        end = (await self.admin.bounds(topic.name, [lane], OffsetSpec.latest()))[lane]
        if await self.look(topic) is not topic:  # asked afterwards: the end is of this topic
            raise Unavailable(f"{topic.name} was made anew: where it ends says nothing of what was read before")
        if len(topic.known) != lanes:
            raise Unavailable(
                f"{topic.name} has not the {lanes} partitions that it had: which has a message is unknown"
            )
        return end

    async def backlog(self, topic: Topic, group: str, lane: int | None) -> int:
        """See `Queue.backlog`; offsets without a record, left by compaction and transactions, count until read past."""
        committed = await self._committed(topic, group)
        lanes = topic.known if lane is None else [lane]
        first = await self.admin.bounds(topic.name, lanes, OffsetSpec.earliest())
        ends = await self.admin.bounds(topic.name, lanes, OffsetSpec.latest())
        return sum(_left(topic, committed.get(each), first[each], ends[each]) for each in lanes)

    async def look(self, topic: Topic) -> Topic:
        """The topic as it is by now: the very same, which knows then how many lanes it has, or another one that was
        made under its name; readers of the one before have ended then."""
        found, lanes = await self.admin.identity(topic.name)
        for (name, _), membership in list(self._memberships.items()):
            if name == topic.name:
                membership.end_before(found)
        if found != topic.id:
            return topic.anew(found, lanes)
        topic.reach(lanes)
        return topic

    async def _member(self, topic: Topic, group: str, start: Start, *, at_once: bool) -> Membership:
        starts = await self._starts(topic, group, start)
        membership = Membership(
            self.settings, topic, self.look, group, starts, self.offsets, self.clock, at_once=at_once
        )
        self._memberships[topic.name, group] = membership
        await membership.open()
        return membership

    def _judge(self, topic: Topic) -> None:
        """Warn of what is weak, once. Raises Misconfigured where it is less than the URL requires."""
        durable, required = topic.traits.durable, self.settings.required
        wrong = _said(weaknesses(topic.replicas, topic.config))
        if durable < required:
            raise Misconfigured(
                f"topic {topic.name} keeps {durable.name.lower()}, less than {required.name.lower()}: {wrong}"
            )
        if topic.name in self._warned:
            return
        self._warned.add(topic.name)
        if self.settings.lanes not in (0, topic.lanes):
            _log.warning("%s", _other_lanes(topic, self.settings.lanes))
        if durable < Durable.REPLICATED:
            _log.warning("topic %s keeps what it acknowledged as %s only: %s", topic.name, durable.name, wrong)
        if soon := _said(each for each in deletions(topic.config) if each[2]):
            _log.warning("topic %s deletes what was not read: %s", topic.name, soon)

    async def _find(self, topic: str) -> Topic:
        self.check()
        return await self.admin.topic(check_topic(topic))

    async def _seen(self, topic: str) -> Topic:
        """A topic that was just made, as soon as brokers know of it."""
        for _ in range(_SEEN_TRIES):
            try:
                return await self.admin.topic(topic)
            except NoSuchTopic:
                await self.clock.sleep(_SEEN_PAUSE_MS)
        return await self.admin.topic(topic)

    async def _committed(self, topic: Topic, group: str) -> dict[int, Committed]:
        """Where the group stands, what this process acknowledged included."""
        if membership := self._memberships.get((topic.name, group)):
            await membership.commits.wait(membership.commits.pending, wait_s=4)
        found = await self.offsets.committed(self.settings.group_prefix + group, topic.name, len(topic.known))
        return {lane: each for lane, each in found.items() if not is_of_another_topic(topic.id, each.metadata)}

    async def _starts(self, topic: Topic, group: str, start: Start) -> dict[int, int]:
        """Make a group that is new stand at `start`; returns the offsets that could not be committed at once.

        Where a group stands in some lanes only, the others are newer than the group, and begin at their oldest.
        """
        committed = await self._committed(topic, group)
        missing = [lane for lane in topic.known if lane not in committed]
        if not missing:
            return {}
        offsets = await self._offsets(topic, Start.OLDEST if committed else start)
        offsets = {lane: offsets[lane] for lane in missing}
        return {} if await self.offsets.commit(self.settings.group_prefix + group, topic.name, offsets) else offsets

    async def _offsets(self, topic: Topic, start: Start) -> dict[int, int]:
        """Where each lane begins. Offsets are held within the bounds of the lane."""
        first = await self._bounds(topic, OffsetSpec.earliest())
        if start.at == "oldest":
            return first
        end = await self._bounds(topic, OffsetSpec.latest())
        if start.at == "newest":
            return end
        if start.at == "offset":
            return {lane: min(max(start.value, first[lane]), end[lane]) for lane in first}
        at = await self._bounds(topic, OffsetSpec.for_timestamp(max(start.value, 0)))
        return {lane: end[lane] if offset < 0 else offset for lane, offset in at.items()}

    async def _bounds(self, topic: Topic, at: OffsetSpec) -> dict[int, int]:
        return await self.admin.bounds(topic.name, topic.known, at)

    async def _state(self, topic: Topic, group: str, bounds: Mapping[int, tuple[int, int]]) -> GroupState | None:
        committed = await self._committed(topic, group)
        if not committed:
            return None
        left = {lane: _left(topic, each, *bounds[lane]) for lane, each in committed.items() if lane in bounds}
        heads = {lane: max(committed[lane].offset, bounds[lane][0]) for lane, count in left.items() if count}
        written = await timestamps(self.settings, topic.name, heads)
        oldest_ms = max(0, self.clock.now_ms() - min(written.values())) if written else None
        return GroupState(sum(left.values()), oldest_ms)


def _left(topic: Topic, stands: Committed | None, first: int, end: int) -> int:
    """How much a group has still to settle of a lane that has the offsets from `first` to, without, `end`."""
    offset, metadata = stands or Committed(first, "")
    start = max(offset, first)
    done = unpack(topic.id, offset, metadata).done
    return max(0, end - start - sum(max(0, stop - max(each, start)) for each, stop in done))


def _said(found: Iterable[tuple[str, str, str]]) -> str:
    return "; ".join(f"{setting} = {value}: {advice}" for setting, value, advice in found)


def _other_lanes(topic: Topic, lanes: int) -> str:
    return f"topic {topic.name} has {topic.lanes} lanes, not {lanes}; it keeps them"


def _differences(topic: Topic, lanes: int | None, settings: Settings) -> list[str]:
    found = []
    if lanes is not None and topic.lanes != lanes:
        found.append(_other_lanes(topic, lanes))
    if settings.replicas and topic.replicas != settings.replicas:
        found.append(f"topic {topic.name} has {topic.replicas} replicas, not {settings.replicas}; it keeps them")
    for name, value in settings.retention.items():
        if (kept := topic.config.get(name, value)) != value:
            found.append(f"topic {topic.name} has {name} = {kept}, not {value}; it keeps it")
    return found


def _compression(settings: Settings) -> int:
    name = settings.dotted.get("compression.type", "none")
    if name not in COMPRESSIONS:
        raise Misconfigured(f"compression.type = {name!r}: known are {', '.join(COMPRESSIONS)}")
    return COMPRESSIONS[name]
