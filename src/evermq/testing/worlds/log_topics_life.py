"""A random life of an embedded log whose topics are made and dropped, and whose groups are made late and reset, while
others append and read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from math import inf

from evermq.adapters.log.disk import Disk
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.reader import LogReader
from evermq.errors import EvermqError, Unavailable, Uncertain
from evermq.message import DELIVER_AT, Message
from evermq.port import Delivery, Start
from evermq.testing.history import body_of
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.worlds.log_books import Books
from evermq.testing.worlds.log_life import Life, read_past_damage
from evermq.testing.worlds.log_topics_books import GroupLife, TopicBooks, TopicLife

__all__ = ["TopicsLife"]

NAMES = ("jobs", "orders")
GROUPS = ("g", "h")
_STARTS = (Start.OLDEST, Start.OLDEST, Start.NEWEST, Start("offset", 1), Start("offset", 3))
_TRIES_MAX = 5
_STALE_SHARE = 0.3  # of the appends go through a queue that was opened before


class TopicsLife(Life):
    """Its topics come and go; `story` says what followed. before_act: called before each drop, reset or late group."""

    def __init__(
        self, disk: Disk, options: LogOptions, clock: SimulatedClock, story: TopicBooks, name: str = ""
    ) -> None:
        super().__init__(disk, options, clock, Books(wrong=story.wrong), name)
        self.story = story
        self.before_act: Callable[[], None] = lambda: None
        self._queues: list[tuple[TopicLife, LogQueue]] = []

    async def open(self) -> bool:
        self.place, self._queues = None, []
        is_open = await super().open()
        if self.place:
            self.story.wrong += self.story.look(self.place.catalog, moment=self.moment)
        return is_open

    async def play(self, actions: int) -> None:
        self._plays += 1
        share = actions // 5
        consumers = [TopicsConsumer(self, self._clock) for _ in range(2)]
        await asyncio.gather(
            *(self._produce(f"{self._name}{self._plays}-{i}", share) for i in range(2)),
            *(consumer.consume(share) for consumer in consumers),
            self._administer(share),
            self._keep(share),
        )
        for consumer in consumers:
            await consumer.close()

    async def _produce(self, producer: str, actions: int) -> None:
        for _ in range(actions):
            await self.guard(self._append(producer, 0))
            await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.03)))

    async def _append(self, producer: str, first: int) -> None:
        await self._append_to(self._chance.choice(NAMES))

    async def _append_to(self, name: str) -> None:
        if self.place is None:
            return
        if self._queues and self._chance.random() < _STALE_SHARE:
            topic, queue = self._chance.choice(self._queues)
        else:
            topic = await self.topic(name)
            queue = await self.place.queue(name)
            self._queues = [*self._queues[-3:], (topic, queue)]
        batch = [self._message_to(topic) for _ in range(self._chance.choice((1, 1, 2, 5)))]
        try:
            positions = await queue.append(batch)
        except Uncertain:
            raise
        except EvermqError:
            topic.refused.update(message.id for message in batch)
            raise
        topic.placed.update(zip([message.id for message in batch], positions, strict=True))
        topic.acked.update(dict.fromkeys([message.id for message in batch], self.moment))

    async def _keep(self, actions: int) -> None:
        for _ in range(actions):
            await self._clock.sleep(self._chance.choice((1, 5, 20)))
            if self.place is None:
                return
            if self._chance.random() < self._reopens:
                await self._reopen()
            else:
                begin = self.moment
                self.place.tidy()
                self._agree(begin)

    async def goes_on(self) -> bool:
        """Whether a topic is there, or made, and takes a message, the log being opened again where it says so."""
        self._queues, cancels, self._cancels = [], self._cancels, 0.0
        for _ in range(_TRIES_MAX):
            if self.place is None or self.place.journal.failure:
                await self._reopen()
            acknowledged = self._acknowledged()
            await self.guard(self._append_to(NAMES[0]))
            if self._acknowledged() > acknowledged:
                break
        self._cancels = cancels
        return self._acknowledged() > acknowledged

    def _acknowledged(self) -> int:
        return sum(len(topic.acked) for topic in self.story.topics)

    def _message_to(self, topic: TopicLife) -> Message:
        key = self._chance.choice((b"a", b"b", None))
        made = self._make(b"", key=key, delay_ms=self._chance.choice(self._delays))
        made = made._replace(body=body_of(made.id, self._chance.choice((0, 10, 200, 700))))
        topic.sent[made.id] = made
        if DELIVER_AT in made.headers:
            topic.delayed.add(made.id)
        return made

    async def topic(self, name: str) -> TopicLife:
        """The one of this name, which is made if it is missing."""
        place = self._place
        if name not in self.story.live:
            begin = self.moment
            try:
                await place.create(name, lanes=self._chance.choice((None, 1, 2)))
            except EvermqError:
                self.story.make_topic(name, place.catalog.number() - 1, begin, inf)
                self._agree()
                raise
            self.story.make_topic(name, _numbers(place)[name], begin, self.moment)
        self._agree()
        return self.story.live[name]

    @property
    def _place(self) -> LogPlace:
        assert self.place
        return self.place

    async def _administer(self, actions: int) -> None:
        for _ in range(actions):
            await asyncio.sleep(self._chance.choice((0, 0.001, 0.01, 0.03)))
            if self.place is None:
                return
            act = self._chance.choices((self._drop, self._reset, self._make_group), (5, 3, 2))[0]
            self.before_act()
            await self.guard(act())

    async def _drop(self) -> None:
        if not self.story.live or self.place is None:
            return
        name = self._chance.choice(sorted(self.story.live))
        begin, segments = self.moment, self.place.journal.segments
        last = segments[-1].number if segments else 0
        try:
            await self.place.drop(name)
        except Uncertain:
            self.story.drop_topic(name, begin, inf, last)
            raise
        else:
            self.story.drop_topic(name, begin, self.moment, last)
        finally:
            self._agree()
        if self._chance.random() < 0.5:
            await self.topic(name)

    async def _reset(self) -> None:
        if self.place is None:
            return
        topic = await self.topic(self._chance.choice(NAMES))
        group, start = self._chance.choice(GROUPS), self._chance.choice(_STARTS)
        with self._making(topic, group, start):
            await self.place.reset(topic.name, group, start)

    async def _make_group(self) -> None:
        if self.place is None:
            return
        topic = await self.topic(self._chance.choice(NAMES))
        group = self._chance.choice(GROUPS)
        with self._making(topic, group, Start.OLDEST):
            await self.place.create(topic.name, groups=[group])

    async def reader(self, topic: TopicLife, group: str) -> LogReader:
        """Its group is made if it is missing, and begins anywhere."""
        queue = await self._place.queue(topic.name)
        start = self._chance.choice(_STARTS)
        with self._making(topic, group, start):
            return await queue.reader(group, start=start)

    @contextlib.contextmanager
    def _making(self, topic: TopicLife, name: str, start: Start) -> Iterator[None]:
        """Take down the group that this makes, if it makes one."""
        begin, before = self.moment, _groups(self._place).get((topic.number, name))
        end = inf
        try:
            yield
            end = self.moment
        except Uncertain:
            if _groups(self._place).get((topic.number, name)) == before:
                given = self._place.catalog.number() - 1
                self.story.make_group(topic, name, given, start, begin, inf, is_live=False)
            raise
        except EvermqError:
            if _groups(self._place).get((topic.number, name)) != before:
                self.story.wrong.append(f"group {name} of {topic.name} could not be made, and was")
            raise
        finally:
            made = _groups(self._place).get((topic.number, name))
            if made and made != before:
                self.story.make_group(topic, name, made, start, begin, end)
            self._agree()

    def _agree(self, begin: int | None = None) -> None:
        """What is there, as the log says it, is what followed from the answers."""
        place = self._place
        served = {topic.name: number for number, topic in place.topics_by_number.items()}
        expected = {name: topic.number for name, topic in self.story.live.items()}
        if not served == _numbers(place) == expected:
            self.story.wrong.append(f"topics are {served}, in the catalog {_numbers(place)}, and not {expected}")
        groups = {(t.number, name): group.number for t in self.story.live.values() for name, group in t.live.items()}
        if _groups(place) != groups:
            self.story.wrong.append(f"groups are {_groups(place)}, and not {groups}")
        if not place.catalog.is_doubtful:
            self.story.decide(self.moment if begin is None else begin, self.moment)


class TopicsConsumer:
    """Reads, settles and releases in groups that it makes where they are missing."""

    def __init__(self, life: TopicsLife, clock: SimulatedClock) -> None:
        self._life = life
        self._chance = clock.random
        self._place: LogPlace | None = None
        self._readers: dict[tuple[str, str], tuple[LogReader, TopicLife, GroupLife]] = {}
        self._held: dict[tuple[str, str], list[Delivery]] = {}

    async def consume(self, actions: int) -> None:
        for _ in range(actions):
            if self._life.place and self._place is not self._life.place:
                self._place = self._life.place
                self._readers, self._held = {}, {}
            which = (self._chance.choice(NAMES), self._chance.choice(GROUPS))
            act = self._chance.choices((self._read, self._settle, self._release, self._leave), (6, 4, 1, 3))[0]
            if self._life.place:
                await self._life.guard(act(which))
            await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.03)))

    async def close(self) -> None:
        for reader, _, _ in self._readers.values():
            with contextlib.suppress(Unavailable):  # what it holds comes again all the same
                await reader.close()

    async def _read(self, which: tuple[str, str]) -> None:
        if self._life.place is None:
            return
        if which not in self._readers:
            topic = await self._life.topic(which[0])
            reader = await self._life.reader(topic, which[1])
            self._readers[which] = (reader, topic, topic.live[which[1]])
        reader, topic, group = self._readers[which]
        is_dropped = topic not in self._life.story.live.values()
        found = await read_past_damage(reader, self._chance.randint(1, 8), self._chance.choice((0, 0, 5)))
        wrong = self._life.story.wrong
        if is_dropped and self._place is self._life.place:
            wrong.append(f"a reader of the dropped topic {topic.number} is served on")
        for message in (delivery.message for delivery in found):
            wrong += topic.strange(message)
            if message.id in group.never:
                wrong.append(f"{message.id} is behind the start of group {group.number}, which gets it")
        self._held.setdefault(which, []).extend(found)

    async def _settle(self, which: tuple[str, str]) -> None:
        held = self._held.get(which, [])
        self._chance.shuffle(held)
        done = [held.pop() for _ in range(self._chance.randint(0, len(held)))]
        if not done:
            return
        reader, topic, group = self._readers[which]
        for delivery in done:
            group.settling.setdefault(delivery.message.id, self._life.moment)
        topic.free(self._life.moment)
        await reader.ack(done)
        for delivery in done:
            group.settled.setdefault(delivery.message.id, self._life.moment)

    async def _release(self, which: tuple[str, str]) -> None:
        if held := self._held.get(which):
            back, rest = held[:2], held[2:]
            keys = {delivery.message.key for delivery in back} - {None}
            self._held[which] = [delivery for delivery in rest if delivery.message.key not in keys]
            await self._readers[which][0].release(back, delay_ms=self._chance.choice((0, 30)))

    async def _leave(self, which: tuple[str, str]) -> None:
        """Without a reader a group may be reset, and a reader of a dropped topic makes way for one of the new topic."""
        self._held.pop(which, None)
        if which in self._readers:
            await self._readers.pop(which)[0].close()


def _numbers(place: LogPlace) -> dict[str, int]:
    return {record.name: record.number for record in place.catalog.topics}


def _groups(place: LogPlace) -> dict[tuple[int, str], int]:
    return {(record.topic, record.name): record.number for record in place.catalog.groups}
