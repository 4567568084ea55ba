"""A random life of an embedded log on a disk: several producers and consumers at once, which are cancelled anywhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from evermq.adapters.log.disk import Disk
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.reader import LogReader
from evermq.errors import Damaged, EvermqError, Uncertain
from evermq.message import Message, MessageFactory
from evermq.port import Delivery, Reader
from evermq.testing.history import body_of
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.worlds.log_books import Books

__all__ = ["DELAY_MS_MAX", "GROUP", "TOPICS", "Life", "options_of", "read_past_damage"]

GROUP = "g"
TOPICS = ("orders", "events", "late")
_KEYS = ("a", "b", "c", None)
_OPEN_TRIES_MAX = 4
DELAY_MS_MAX = 100_000

T = TypeVar("T")


def options_of(chance: random.Random, fsync: str) -> LogOptions:
    """Small segments, so that everything happens often."""
    return LogOptions(
        fsync=fsync,
        lanes=chance.choice((1, 1, 2, 3)),
        segment_bytes=chance.choice((4096, 8192, 16384)),
        retain_bytes=chance.choice((0, 20_000, 1 << 30)),
        spares_max=chance.choice((0, 1, 2)),
    )


class Life:
    """Plays actions on a place; `books` says what followed. Whatever is raised must be one of evermq's errors.

    Every life has its own mixture: how many tasks there are, whether they are cancelled, whether messages wait.
    """

    def __init__(
        self,
        disk: Disk,
        options: LogOptions,
        clock: SimulatedClock,
        books: Books,
        name: str = "",
        topics: Sequence[str] = TOPICS,
    ) -> None:
        self.topics = topics
        self._disk = disk
        self._options = options
        self._clock = clock
        self._chance = clock.random
        self._name = name
        self._make = MessageFactory(clock)
        self._plays = 0
        self._consumers: list[Consumer] = []
        self._cancels = self._chance.choice((0.0, 0.0, 0.1, 0.4))
        self._delays = self._chance.choice(((0,), (0, 0, 0, 0, 0, 50, DELAY_MS_MAX), (0, 0, 20)))
        self._reopens = self._chance.choice((0.0, 0.1, 0.3))
        self.books = books
        self.place: LogPlace | None = None

    @property
    def moment(self) -> int:
        """How many operations the disk has done."""
        return getattr(self._disk, "steps", 0)

    async def open(self) -> bool:
        """Open the log; a disk that fails may refuse that for a while, or for ever."""
        for _ in range(_OPEN_TRIES_MAX):
            self.place = None
            try:
                self.place = LogPlace(self._disk, self._options, clock=self._clock, threaded=False)
                return True
            except (EvermqError, OSError):
                continue
        return False

    async def close(self) -> None:
        """Close it in order."""
        if self.place:
            try:
                await self.place.close()
                self._note_flush()
            except EvermqError:
                pass

    async def wait_for_delayed(self) -> None:
        """Until everything delayed is due, and nobody holds anything any more."""
        await self._clock.sleep(DELAY_MS_MAX * 2)
        for consumer in self._consumers:
            await consumer.close()

    async def catch_up(self) -> None:
        """Settle everything, and let go of what is then needed no more."""
        await self.wait_for_delayed()
        if self.place:
            self._consumers = [Consumer(self, self._clock)]
            await self._consumers[0].settle_all(self.place)
            self.place.tidy()

    async def play(self, actions: int) -> None:
        """So many random actions; the log may refuse them."""
        self._plays += 1
        producers, consumers = self._chance.randint(1, 3), self._chance.randint(1, 2)
        self._consumers = [Consumer(self, self._clock) for _ in range(consumers)]
        share = actions // (producers + consumers + 1)
        await asyncio.gather(
            *(self._produce(f"{self._name}{self._plays}-{i}", share) for i in range(producers)),
            *(consumer.consume(share) for consumer in self._consumers),
            self._keep(share),
        )

    async def guard(self, work: Awaitable[T]) -> T | None:
        """The result, or None where the log refused; cancelled now and then."""
        task = asyncio.ensure_future(work)
        if self._chance.random() < self._cancels:
            for _ in range(self._chance.randrange(5)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return None
        except EvermqError:
            if self.place and self.place.journal.failure:
                await self._reopen()
            return None
        except Exception as error:
            self.books.wrong.append(f"an untyped error came out: {error!r}")
            return None

    async def _produce(self, producer: str, actions: int) -> None:
        for count in range(actions):
            if self.place is None:
                return
            await self.guard(self._append(producer, count * 10))
            await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.03)))

    async def _append(self, producer: str, first: int) -> None:
        if self.place is None:
            return
        topic = self._chance.choice(self.topics)
        queue = await self.place.queue(topic)
        batch = [self._message(topic, producer, first + i) for i in range(self._chance.randint(1, 5))]
        try:
            await queue.append(batch)
        except Uncertain:
            raise
        except EvermqError:
            self.books.refused.update(message.id for message in batch)
            raise
        self.books.acked.update(dict.fromkeys([message.id for message in batch], self.moment))

    def _message(self, topic: str, producer: str, number: int) -> Message:
        key = self._chance.choice(_KEYS)
        made = self._make(b"", key=key, delay_ms=self._chance.choice(self._delays))
        made = made._replace(body=body_of(made.id, self._chance.choice((0, 10, 200, 700))))
        self.books.messages[made.id] = made
        self.books.topic[made.id] = topic
        self.books.number[made.id] = (producer, number)
        return made

    async def _keep(self, actions: int) -> None:
        """What an owner does from time to time."""
        for _ in range(actions):
            await self._clock.sleep(self._chance.choice((1, 5, 20)))
            if self.place is None:
                return
            if self._chance.random() < self._reopens:
                await self._reopen()
            else:
                self.place.tidy()
                if not self.place.journal.failure:
                    self._note_flush()

    def _note_flush(self) -> None:
        """The interval is over, or the log was closed in order: what was acknowledged is durable by promise."""
        if self._options.fsync != "never":
            self.books.segment_syncs.append(self.moment + 1)

    async def _reopen(self) -> None:
        await self.close()
        await self.open()


class Consumer:
    """Reads, settles and releases in the order its seed says."""

    def __init__(self, life: Life, clock: SimulatedClock) -> None:
        self._life = life
        self._clock = clock
        self._chance = clock.random
        self._place: LogPlace | None = None
        self._readers: dict[str, LogReader] = {}
        self._held: dict[str, list[Delivery]] = {}

    async def consume(self, actions: int) -> None:
        for _ in range(actions):
            if self._life.place is None:
                return
            if self._place is not self._life.place:  # another life: what it held comes again
                self._place = self._life.place
                self._readers, self._held = {}, {}
            topic = self._chance.choice(self._life.topics)
            act = self._chance.choices((self._read_some, self._settle, self._release), (6, 5, 2))[0]
            await self._life.guard(act(topic))
            await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.03)))

    async def settle_all(self, place: LogPlace) -> None:
        """As long as there is something to be had."""
        self._place = place
        for topic in self._life.topics:
            await self._read(topic, wait_ms=0)
            while self._held[topic]:
                await self._done(topic, self._held.pop(topic))
                await self._read(topic, wait_ms=0)

    async def close(self) -> None:
        """Give back what it holds."""
        for reader in self._readers.values():
            await reader.close()

    async def _read_some(self, topic: str) -> None:
        await self._read(topic, self._chance.choice((0, 0, 5)))

    async def _read(self, topic: str, wait_ms: int) -> None:
        if topic not in self._readers:
            assert self._place
            self._readers[topic] = await (await self._place.queue(topic)).reader(GROUP)
        found = await read_past_damage(self._readers[topic], self._chance.randint(1, 12), wait_ms)
        self._held.setdefault(topic, []).extend(found)

    async def _settle(self, topic: str) -> None:
        held = self._held.get(topic, [])
        self._chance.shuffle(held)
        done = [held.pop() for _ in range(self._chance.randint(0, len(held)))]
        if done:
            await self._done(topic, done)

    async def _done(self, topic: str, done: list[Delivery]) -> None:
        books = self._life.books
        for delivery in done:
            books.settling.setdefault(delivery.message.id, self._life.moment)
        await self._readers[topic].ack(done)
        for delivery in done:
            books.settled.setdefault(delivery.message.id, self._life.moment)

    async def _release(self, topic: str) -> None:
        if held := self._held.get(topic):
            back, rest = held[:2], held[2:]
            # What is released takes along what is held behind it of its key.
            keys = {delivery.message.key for delivery in back} - {None}
            self._held[topic] = [delivery for delivery in rest if delivery.message.key not in keys]
            await self._readers[topic].release(back, delay_ms=self._chance.choice((0, 30)))


async def read_past_damage(reader: Reader, count_max: int, wait_ms: int = 0) -> list[Delivery]:
    """What comes next, whatever was passed over in front of it. Raises Damaged where a reader does not get past it."""
    told: set[str] = set()
    while True:
        try:
            return await reader.read(count_max=count_max, wait_ms=wait_ms)
        except Damaged as error:
            if str(error) in told:
                raise
            told.add(str(error))
