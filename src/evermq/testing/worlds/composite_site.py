"""An engine of a simulated world, and the connection that one process has to it.

process -> Link -> Faulty -> engine. A process that dies cuts its links: nothing it still does has any effect, what is
on its way to the engine may arrive all the same, and the engine notices only later that its readers are gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.memory import MemoryQueue
from evermq.errors import Closed, Uncertain
from evermq.message import Message
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position
from evermq.testing.faulty import Fault, Faulty, Verb
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.traits import Traits

__all__ = ["Engine", "Link", "Site"]

T = TypeVar("T")
_DELAY_MS_MAX = 500
TOPIC = "orders"


class Engine:
    """See `Queue`. A queue in memory, which survives; or a log on a fake disk, which may be killed and comes back."""

    def __init__(self, clock: SimulatedClock, *, logged: bool) -> None:
        self._clock = clock
        self._chance = clock.random
        self._disk = FakeDisk() if logged else None
        self._options = LogOptions(lanes=self._chance.choice((1, 2, 3)), segment_bytes=32_768)
        self._place: LogPlace | None = None
        self._lives = 0
        self._queue: Queue = MemoryQueue(TOPIC, lanes=self._chance.choice((1, 2, 3)), clock=clock)
        self.name = TOPIC

    async def open(self) -> None:
        """Begin to serve."""
        if self._disk:
            self._place = LogPlace(self._disk, self._options, clock=self._clock, threaded=False)
            self._queue = await self._place.queue(TOPIC)

    @property
    def traits(self) -> Traits:
        return self._queue.traits

    @property
    def is_mortal(self) -> bool:
        return self._disk is not None

    async def kill(self, *, power: bool) -> None:
        """Die with all that was not on the disk, and come back from it."""
        assert self._disk
        assert self._place
        self._place.disown("it was killed")
        end = self._disk.steps + 1
        self._disk = self._disk.power_cut(end, self._chance) if power else self._disk.kill(end, self._chance)
        self._lives += 1
        await self.open()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        life = self._lives
        positions = await self._queue.append(messages)
        if life != self._lives:
            raise Uncertain("the engine was killed before it answered")
        return positions

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return _EngineReader(self, await self._queue.reader(group, start=start))

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._queue.backlog(group, lane)

    async def close(self) -> None:
        await self._queue.close()

    def lives(self) -> int:
        """How often it was killed."""
        return self._lives


class _EngineReader:
    """See `Reader`; it dies with its engine."""

    def __init__(self, engine: Engine, inner: Reader) -> None:
        self._engine = engine
        self._inner = inner
        self._life = engine.lives()

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        return await self._alive(self._inner.read(count_max=count_max, wait_ms=wait_ms))

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._alive(self._inner.ack(deliveries))

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        await self._alive(self._inner.release(deliveries, delay_ms=delay_ms))

    async def close(self) -> None:
        if self._life == self._engine.lives():
            await self._inner.close()

    async def _alive(self, act: Awaitable[T]) -> T:
        result = await act
        if self._life != self._engine.lives():
            raise Closed("the engine was killed: open another reader")
        return result


@dataclass(slots=True)
class SlotState:
    """Of a site that is a slot of a host. name: of the producer whose own it is, if any. wanted_until_ms: its producer
    waits for it, and says so again and again; what a producer said that died is soon past."""

    name: str = ""
    is_empty: bool = True
    wanted_until_ms: int = 0
    holder: Link | None = None


class Site:
    """An engine and what goes wrong with it. `rates` may be changed while it runs."""

    def __init__(self, name: str, clock: SimulatedClock, *, logged: bool) -> None:
        self.name = name
        self.engine = Engine(clock, logged=logged)
        self.slot = SlotState()
        self.rates: dict[Verb, dict[Fault, float]] = {verb: {} for verb in Verb}
        chance = random.Random(clock.random.random())
        self.faulty = Faulty(self.engine, rates=self.rates, random=chance, delay_ms_max=_DELAY_MS_MAX, clock=clock)

    def heal(self) -> None:
        """Work from now on, and do what hangs."""
        for faults in self.rates.values():
            faults.clear()
        self.faulty.up()


class Link:
    """See `Queue`: one process's connection to a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._queue = site.faulty
        self._readers: list[Reader] = []
        self.is_cut = False
        self.under_way = 0
        self.name = site.name

    @property
    def traits(self) -> Traits:
        return self._queue.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await self.carry(self._queue.append(messages))

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return _LinkReader(self, await self.carry(self._open(group, start)))

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self.carry(self._queue.backlog(group, lane))

    async def close(self) -> None:
        """The process goes in good order: its readers are closed, the engine lives on."""
        if not self.is_cut:
            self.cut()
            await self.forget()

    def cut(self) -> None:
        """The process is dead."""
        self.is_cut = True

    @property
    def is_gone(self) -> bool:
        """Whether the process is dead and the kernel has ended what it was doing on this disk."""
        return self.is_cut and not self.under_way

    async def forget(self) -> None:
        """The engine notices, and takes back what the process had."""
        for reader in self._readers:
            await reader.close()

    async def carry(self, act: Awaitable[T]) -> T:
        """Do it at the engine, which goes on with it whatever becomes of the process."""
        doing = asyncio.ensure_future(act)
        self.under_way += 1
        doing.add_done_callback(self._done)
        if self.is_cut:
            doing.cancel()
            raise Closed("this process is dead")
        return await asyncio.shield(doing)

    def _done(self, doing: asyncio.Future[T]) -> None:
        self.under_way -= 1
        if not doing.cancelled():
            doing.exception()  # perhaps nobody else looks

    async def _open(self, group: str, start: Start) -> Reader:
        reader = await self._queue.reader(group, start=start)
        self._readers.append(reader)
        if self.is_cut:
            await reader.close()
        return reader


class _LinkReader:
    """See `Reader`."""

    def __init__(self, link: Link, inner: Reader) -> None:
        self._link = link
        self._inner = inner

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        if self._link.is_cut:
            raise Closed("this process is dead")
        return await self._inner.read(count_max=count_max, wait_ms=wait_ms)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._link.carry(self._inner.ack(deliveries))

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        await self._link.carry(self._inner.release(deliveries, delay_ms=delay_ms))

    async def close(self) -> None:
        if not self._link.is_cut:
            await self._inner.close()
