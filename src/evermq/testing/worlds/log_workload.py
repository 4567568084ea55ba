"""A random life of an embedded log on a fake disk, and what may and must be found of it afterwards."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.reader import LogReader
from evermq.errors import EvermqError, Uncertain
from evermq.message import Message, MessageFactory
from evermq.port import Delivery
from evermq.testing.history import body_of
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk

__all__ = ["GROUP", "Books", "Life", "find_wrong", "options_of"]

GROUP = "g"
_TOPICS = ("orders", "events")
_KEYS = ("a", "b", "c", None)


@dataclass(slots=True)
class Books:
    """What was asked of the log, and at which step of the disk it was acknowledged."""

    messages: dict[str, Message] = field(default_factory=dict)
    topic: dict[str, str] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    acked: dict[str, int] = field(default_factory=dict)
    settling: dict[str, int] = field(default_factory=dict)  # the step before its acknowledgement was written
    refused: set[str] = field(default_factory=set)


class Life:
    """Plays actions on a place; `books` says what followed."""

    def __init__(self, disk: FakeDisk, options: LogOptions, clock: SimulatedClock, books: Books) -> None:
        self._disk = disk
        self._options = options
        self._clock = clock
        self._chance = clock.random
        self._make = MessageFactory(clock)
        self._queues: dict[str, LogQueue] = {}
        self._readers: dict[str, LogReader] = {}
        self._held: dict[str, list[Delivery]] = {}
        self.books = books
        self.place: LogPlace | None = None

    async def open(self) -> None:
        self.place = LogPlace(self._disk, self._options, clock=self._clock, threaded=False)
        for name in _TOPICS:
            self._queues[name] = await self.place.queue(name)
            self._readers[name] = await self._queues[name].reader(GROUP)
            self._held[name] = []

    async def play(self, actions: int) -> None:
        """So many random actions; the log may refuse them."""
        for _ in range(actions):
            topic = self._chance.choice(_TOPICS)
            act = self._chance.choices(
                (self._append, self._read, self._settle, self._release, self._reopen, self._tidy),
                (40, 12, 10, 4, 2, 6),
            )[0]
            try:
                await act(topic)
            except (EvermqError, OSError):
                continue

    async def _append(self, topic: str) -> None:
        books = self.books
        batch = []
        for _ in range(self._chance.randint(1, 5)):
            delay_ms = self._chance.choice((0, 0, 0, 0, 0, 50, 100_000))
            made = self._make(b"", key=self._chance.choice(_KEYS), delay_ms=delay_ms)
            made = made._replace(body=body_of(made.id, self._chance.choice((0, 10, 200, 700))))
            books.messages[made.id] = made
            books.topic[made.id] = topic
            books.order[made.id] = len(books.order)
            batch.append(made)
        try:
            await self._queues[topic].append(batch)
        except Uncertain:
            return
        except EvermqError:
            books.refused.update(message.id for message in batch)
            raise
        books.acked.update((message.id, self._disk.steps) for message in batch)

    async def _read(self, topic: str) -> None:
        self._held[topic] += await self._readers[topic].read(count_max=self._chance.randint(1, 12), wait_ms=0)

    async def _settle(self, topic: str) -> None:
        held = self._held[topic]
        self._chance.shuffle(held)
        done = [held.pop() for _ in range(self._chance.randint(0, len(held)))]
        for delivery in done:
            self.books.settling.setdefault(delivery.message.id, self._disk.steps)
        await self._readers[topic].ack(done)

    async def _release(self, topic: str) -> None:
        held = self._held[topic]
        if held:
            back, self._held[topic] = held[:2], held[2:]
            await self._readers[topic].release(back, delay_ms=self._chance.choice((0, 30)))
            await self._clock.sleep(self._chance.choice((0, 40)))

    async def _reopen(self, topic: str) -> None:
        assert self.place
        await self.place.close()
        await self.open()

    async def _tidy(self, topic: str) -> None:
        assert self.place
        self.place.tidy()


async def find_wrong(
    disk: FakeDisk, options: LogOptions, clock: SimulatedClock, books: Books, before_step: int, *, may_lose: bool
) -> list[str]:
    """Open what is left of the disk with the real code, read everything, and say what is wrong.

    before_step: operations up to this one were done. may_lose: the policy promises nothing for this crash.
    """
    place = LogPlace(disk, options, clock=clock, threaded=False)
    wrong: list[str] = []
    stored: set[str] = set()
    served: set[str] = set()
    names = await place.topics()
    await clock.sleep(200_000)  # everything delayed is due
    for name in names:
        queue = await place.queue(name)
        stored |= await _read_all(queue, "audit", books, wrong)
        served |= await _read_all(queue, GROUP, books, wrong)
    await place.close()
    if not may_lose:
        for id, step in books.acked.items():
            if step <= before_step and books.settling.get(id, before_step + 1) > before_step:
                if id not in stored:
                    wrong.append(f"{id} was acknowledged at step {step} and is not stored")
                elif id not in served:
                    wrong.append(f"{id} was not settled, and its group never gets it")
    wrong += [f"{id} was refused for certain and is stored" for id in stored & books.refused]
    return wrong


async def _read_all(queue: LogQueue, group: str, books: Books, wrong: list[str]) -> set[str]:
    reader = await queue.reader(group)
    seen: set[str] = set()
    last: dict[bytes, int] = {}
    while found := await reader.read(count_max=100, wait_ms=0):
        for message, _, _, _ in found:
            sent = books.messages.get(message.id)
            if sent is None or (message.body, message.key) != (sent.body, sent.key):
                wrong.append(f"{message.id} was never sent so (phantom)")
                continue
            if message.id in seen:
                wrong.append(f"{message.id} came twice to group {group}")
            seen.add(message.id)
            if message.key and not message.headers:
                number = books.order[message.id]
                if number < last.get(message.key, -1):
                    wrong.append(f"{message.id} came behind a later message of its key to group {group}")
                last[message.key] = max(number, last.get(message.key, -1))
        await reader.ack(found)
    return seen


def options_of(chance: random.Random, fsync: str) -> LogOptions:
    """Small segments, so that everything happens often."""
    return LogOptions(
        fsync=fsync,
        lanes=chance.choice((1, 2, 3)),
        segment_bytes=chance.choice((4096, 8192, 16384)),
        retain_bytes=chance.choice((0, 20_000, 1 << 30)),
        spares_max=chance.choice((0, 1, 2)),
    )
