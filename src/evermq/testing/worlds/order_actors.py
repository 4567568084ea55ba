"""Who sends and who reads in a simulated ladder, in processes that die without a word."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from evermq.errors import EvermqError, Fenced, Rejected, Unavailable
from evermq.message import NO_HEADERS, Message
from evermq.numbers import FLAGGED
from evermq.policy.lane import GateCounts
from evermq.policy.ordered import Ordered
from evermq.policy.ordered_reader import OrderedReader
from evermq.port import Delivery, Queue, Reader, Start
from evermq.testing.history import Event, body_of, digest
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.worlds.order_host import Ladder
from evermq.testing.worlds.order_rung import REFUSED

__all__ = ["Consumer", "Producer", "Record"]


class Record:
    """What happened, in its order. flagged: what a group was handed although its order was open."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.events: list[Event] = []
        self.flagged: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()

    def tell(self, ev: str, **what: Any) -> None:
        """Write an event down."""
        self.events.append(Event(t=self.clock.monotonic_ms() * 1_000_000, ev=ev, **what))


class _Process:
    """Tasks that end together."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _kill(self, *others: asyncio.Task[Any] | None) -> None:
        tasks = [*self._tasks, *(each for each in others if each)]
        self._tasks = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Producer(_Process):
    """Sends `count` messages of each of its keys, in order; on with the next once a send has ended, however."""

    def __init__(
        self, name: str, record: Record, make: Callable[[], Queue], *, keys: int, count: int, think_ms: int
    ) -> None:
        super().__init__()
        self.name = name
        self.is_named = True
        self.refused = 0.0
        self.think_ms = think_ms
        self._record = record
        self._make = make
        self._keys = keys
        self._count = count
        self._sent: Counter[int] = Counter()
        self._queue: Queue | None = None
        self._boots = 0

    def boot(self) -> None:
        """Begin, or go on where the last process was killed: as somebody else, where it has no name."""
        if self._tasks:
            return
        self._boots += 1
        self._queue = self._make()
        for key in range(self._keys):
            self._run(self._send_all(self._queue, key))

    async def kill(self) -> None:
        """As SIGKILL: nothing is closed, only the slot stays."""
        self._record.tell("crash", proc=self.name)
        queue = self._queue
        if not isinstance(queue, Ordered):
            await self._kill()
            if queue:
                await queue.close()  # ends its tasks, and says nothing to anybody
            return
        await self._kill(queue._starting, *(queue.flights._tasks if queue.flights else ()))
        if isinstance(queue._queue, Ladder):
            await queue._queue.cut(0.5)

    @property
    def is_done(self) -> bool:
        flights = self._queue.flights if isinstance(self._queue, Ordered) else None
        return all(self._sent[key] >= self._count for key in range(self._keys)) and (not flights or flights.is_idle)

    async def _send_all(self, queue: Queue, key: int) -> None:
        clock = self._record.clock
        while self._sent[key] < self._count:
            batch = [self._message(key) for _ in range(clock.random.choice((1, 1, 2, 4)))]
            try:
                positions = await queue.append(batch)
            except asyncio.CancelledError:
                self._tell(batch, "send_unknown")
                raise
            except EvermqError as error:
                outcomes = getattr(error, "outcomes", [error] * len(batch))
                for message, outcome in zip(batch, outcomes, strict=True):
                    certain = isinstance(outcome, Unavailable | Rejected)
                    failed = "send_fail" if certain else "send_unknown"
                    self._tell([message], failed if isinstance(outcome, EvermqError) else "send_ok")
            else:
                for message, position in zip(batch, positions, strict=True):
                    self._record.tell("send_ok", id=message.id, via="/".join(position.via))
                    self._record.seen[f"sent by {'/'.join(position.via)}"] += 1
            await clock.sleep(self.think_ms * clock.random.random())

    def _tell(self, batch: list[Message], ev: str) -> None:
        for message in batch:
            self._record.tell(ev, id=message.id)
            self._record.seen[ev] += 1

    def _message(self, key: int) -> Message:
        self._sent[key] += 1
        number = self._sent[key]
        id = f"{self.name}-{key}-{number}"
        is_refused = self._record.clock.random.random() < self.refused
        body = REFUSED if is_refused else body_of(id, 20)
        producer = self.name if self.is_named else f"{self.name}.{self._boots}"
        name = f"{producer}/{key}" if key else ""  # the first has none; order is kept for each producer by itself
        self._record.tell("send_invoke", id=id, key=name, kseq=number, producer=producer, sha=digest(body))
        return Message(id, f"{self.name}/{key}".encode() if key else None, body, NO_HEADERS, 0)


class Consumer(_Process):
    """Handles what a group reads. atomic: the mark is made with the effect; else after it, by acknowledging. counts: of
    its readers, those that were killed included."""

    def __init__(
        self, name: str, group: str, record: Record, make: Callable[[], Queue], settle: Callable[[Delivery], bool]
    ) -> None:
        super().__init__()
        self.name = name
        self.start = Start.OLDEST
        self.atomic = True
        self.dead = self.released = 0.0
        self._group = group
        self._record = record
        self._make = make
        self._settle = settle
        self.reader: Reader | None = None
        self.counts: list[GateCounts] = []
        self._owed: list[Delivery] = []

    def boot(self) -> None:
        """Begin to read."""
        if self._tasks:
            return
        self._owed = []
        self._run(self._read_all())

    async def kill(self) -> None:
        """As SIGKILL: what it has comes again elsewhere, its claims end when they are missed."""
        self._record.tell("crash", proc=self.name)
        reader, self.reader = self.reader, None
        if isinstance(reader, OrderedReader):
            await self._kill(*reader._tasks, reader._poll)
            await reader._inner.close()
        else:
            await self._kill()
            if reader:
                await reader.close()

    async def end(self) -> None:
        """An orderly end."""
        await self._kill()
        if self.reader:
            await self.reader.close()

    async def _read_all(self) -> None:
        queue = self._make()
        self.reader = None
        while self.reader is None:
            try:
                self.reader = await queue.reader(self._group, start=self.start)
            except Unavailable:
                await self._record.clock.sleep(100)
        if isinstance(self.reader, OrderedReader):
            self.counts.append(self.reader.counts)
        while True:
            try:
                found = await self.reader.read(count_max=self._record.clock.random.choice((1, 3, 20)), wait_ms=500)
                await self._handle_all(self.reader, found)
            except (Unavailable, EvermqError):
                await self._record.clock.sleep(50)

    async def _handle_all(self, reader: Reader, found: list[Delivery]) -> None:
        """In order; what fails is given back, with what is behind it."""
        chance = self._record.clock.random
        left = list(found)
        while left:
            delivery = left.pop(0)
            await self._record.clock.sleep(10 * chance.random())
            if chance.random() < self.released:
                self._record.seen["released"] += 1
                await reader.release([delivery, *left], delay_ms=chance.choice((0, 100, 1_500)))
                return
            if not self._handle(delivery):
                await reader.release([delivery, *left])
                return
            await self._record.clock.sleep(3 * chance.random())
            is_alone = not self.atomic or chance.random() < 0.5
            if not await self._ack(reader, [delivery] if is_alone else found[: len(found) - len(left)]):
                await reader.release(left)
                return

    async def _ack(self, reader: Reader, deliveries: list[Delivery]) -> bool:
        """With what was handled, and could not be acknowledged; False: it comes again, and what is behind it."""
        owed, self._owed = [*self._owed, *deliveries], []
        try:
            await reader.ack(owed)
        except Unavailable:
            self._owed = owed
        except Fenced:
            return False
        return True

    def _handle(self, delivery: Delivery) -> bool:
        message, via = delivery.message, "/".join(delivery.position.via)
        what = {"id": message.id, "group": self._group, "proc": self.name, "via": via}
        self._record.tell("deliver", sha=digest(message.body), attempt=delivery.attempt, **what)
        if message.headers.get(FLAGGED):
            self._record.flagged[self._group] += 1
        is_dead = self._record.clock.random.random() < self.dead
        try:
            is_first = self._bury(delivery) if is_dead else self._mark(delivery)
        except (Fenced, Unavailable) as error:
            self._record.seen["fenced" if isinstance(error, Fenced) else "rolled back"] += 1
            return False
        if is_first:
            self._record.tell("dead" if is_dead else "handler_ok", **what)
        return True

    def _mark(self, delivery: Delivery) -> bool:
        return not self.atomic or self._settle(delivery)

    def _bury(self, delivery: Delivery) -> bool:
        """It settles for its group, as what took effect does."""
        return self._mark(delivery)
