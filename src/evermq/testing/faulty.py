"""A queue that fails: by hand, by plan or by chance."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from random import Random
from typing import TypeVar

from evermq.clock import SYSTEM, Clock
from evermq.errors import Misconfigured, Partial, Rejected, Unavailable, Uncertain
from evermq.message import Message
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position
from evermq.traits import Traits

__all__ = ["Fault", "Faulty", "FaultyReader", "Verb"]

T = TypeVar("T")


class Verb(Enum):
    """What may fail. ACK is release too; ADMIN is reader and backlog."""

    APPEND = "append"
    READ = "read"
    ACK = "ack"
    ADMIN = "admin"


class Fault(Enum):
    """How it fails. Of a read, what was handed out by then is released, so that nothing is lost."""

    REFUSE = "not done: Unavailable"
    LOSE = "not done, the request was lost: Uncertain, of a read Unavailable"
    FORGET = "done, the answer was lost: Uncertain, of a read Unavailable"
    LATE = "Uncertain at once, and done after a pause of up to delay_ms_max all the same; appends and acks only"
    REJECT = "not done: Rejected; appends only"
    SPLIT = "of a batch every other key goes in, or of one key the first half: Partial; appends only"
    DELAY = "done after a pause of up to delay_ms_max"
    HANG = "done when `up` is called, not before"


_ALWAYS = {Fault.REFUSE, Fault.LOSE, Fault.FORGET, Fault.DELAY, Fault.HANG}
_MAY = {
    Verb.APPEND: set(Fault),
    Verb.READ: _ALWAYS,
    Verb.ACK: _ALWAYS | {Fault.LATE},
    Verb.ADMIN: {Fault.REFUSE, Fault.DELAY, Fault.HANG},
}


class Faulty:
    """See `Queue`. Without rates, and until told otherwise, it does what `inner` does.

    rates: by verb and fault, the share of calls (0 to 1) that fail so, drawn from `random`; give a seeded one.
    bitten: how often each fault has struck, by verb; a test whose faults never struck has shown nothing.
    """

    def __init__(
        self,
        inner: Queue,
        *,
        rates: Mapping[Verb, Mapping[Fault, float]] | None = None,
        random: Random | None = None,
        delay_ms_max: int = 100,
        clock: Clock = SYSTEM,
    ) -> None:
        self._inner = inner
        self._rates = rates or {}
        self._random = random or Random(0)
        self._delay_ms_max = delay_ms_max
        self._clock = clock
        self._plans: dict[Verb, deque[Fault | None]] = {verb: deque() for verb in Verb}
        self._state: Fault | None = None
        self._thawed = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()
        self.bitten: Counter[tuple[Verb, Fault]] = Counter()
        for verb, faults in self._rates.items():
            _check(verb, faults)
            if sum(faults.values()) > 1 or min(faults.values(), default=0) < 0:
                raise Misconfigured(f"rates of {verb.value}: give shares of 0 to 1 that sum up to 1 at most")

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def traits(self) -> Traits:
        return self._inner.traits

    def down(self) -> None:
        """Refuse everything with Unavailable, until `up`; a read that waits already goes on."""
        self._state = Fault.REFUSE

    def hang(self) -> None:
        """Let everything that is called from now on wait, until `up`."""
        self._state = Fault.HANG

    def up(self) -> None:
        """Work again; whatever hangs is done now."""
        self._state = None
        self._thawed.set()
        self._thawed = asyncio.Event()

    def next(self, fault: Fault | None, count: int = 1, *, verb: Verb = Verb.APPEND) -> None:
        """Let the next calls of a verb, behind those that are planned already, fail so (None: succeed)."""
        if fault:
            _check(verb, [fault])
        self._plans[verb].extend([fault] * count)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        fault = self._draw(Verb.APPEND)
        if fault is Fault.REJECT:
            raise Rejected(f"{self.name}: rejected by a planned fault")
        if fault is Fault.SPLIT and messages:
            return await self._split(messages)
        return await self._do(fault, lambda: self._inner.append(messages))

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> FaultyReader:
        fault = self._draw(Verb.ADMIN)
        return FaultyReader(self, await self._do(fault, lambda: self._inner.reader(group, start=start)))

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._do(self._draw(Verb.ADMIN), lambda: self._inner.backlog(group, lane))

    async def close(self) -> None:
        """Wait for what is late, then close the inner queue."""
        while self._late:
            await asyncio.wait(self._late)
        await self._inner.close()

    async def read(self, inner: Reader, count_max: int, wait_ms: int) -> list[Delivery]:
        """A read of one of its readers."""
        fault = self._draw(Verb.READ)
        if fault in (Fault.REFUSE, Fault.LOSE):
            raise Unavailable(f"{self.name}: read refused by a planned fault")
        if fault is Fault.FORGET:
            await inner.release(await inner.read(count_max=count_max, wait_ms=0))
            raise Unavailable(f"{self.name}: the answer to a read was lost by a planned fault")
        return await self._do(fault, lambda: inner.read(count_max=count_max, wait_ms=wait_ms))

    async def settle(self, act: Callable[[], Awaitable[None]]) -> None:
        """An ack or release of one of its readers."""
        await self._do(self._draw(Verb.ACK), act)

    def _draw(self, verb: Verb) -> Fault | None:
        fault = self._state or self._planned(verb)
        if fault:
            self.bitten[verb, fault] += 1
        return fault

    def _planned(self, verb: Verb) -> Fault | None:
        if self._plans[verb]:
            return self._plans[verb].popleft()
        faults = self._rates.get(verb)
        dice = self._random.random() if faults else 1.0
        for fault, rate in (faults or {}).items():
            dice -= rate
            if dice < 0:
                return fault
        return None

    async def _do(self, fault: Fault | None, act: Callable[[], Awaitable[T]]) -> T:
        match fault:
            case Fault.REFUSE:
                raise Unavailable(f"{self.name}: refused by a planned fault")
            case Fault.LOSE:
                raise Uncertain(f"{self.name}: the request was lost by a planned fault")
            case Fault.FORGET:
                await act()
                raise Uncertain(f"{self.name}: the answer was lost by a planned fault")
            case Fault.LATE:
                task = asyncio.create_task(self._do_late(act))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                raise Uncertain(f"{self.name}: made late by a planned fault")
            case Fault.DELAY:
                await self._pause()
            case Fault.HANG:
                await self._thawed.wait()
        return await act()

    async def _do_late(self, act: Callable[[], Awaitable[object]]) -> None:
        await self._pause()
        try:
            await act()
        except Exception:  # nobody listens any more; it is as uncertain as it was said to be
            return

    async def _pause(self) -> None:
        await self._clock.sleep(self._random.random() * self._delay_ms_max)

    async def _split(self, messages: Sequence[Message]) -> Sequence[Position]:
        keys = list(dict.fromkeys(message.key for message in messages))
        lucky = set(keys[::2])
        half = len(messages) // 2
        goes = [(m.key in lucky) if len(keys) > 1 else i < half for i, m in enumerate(messages)]
        positions = iter(await self._inner.append([m for m, good in zip(messages, goes, strict=True) if good]))
        refused = Unavailable(f"{self.name}: refused by a planned fault, with a part of its batch")
        raise Partial([next(positions) if good else refused for good in goes])


class FaultyReader:
    """See `Reader`. Made by Faulty."""

    def __init__(self, queue: Faulty, inner: Reader) -> None:
        self._queue = queue
        self._inner = inner

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        return await self._queue.read(self._inner, count_max, wait_ms)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._queue.settle(lambda: self._inner.ack(deliveries))

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        await self._queue.settle(lambda: self._inner.release(deliveries, delay_ms=delay_ms))

    async def close(self) -> None:
        await self._inner.close()


def _check(verb: Verb, faults: Sequence[Fault] | Mapping[Fault, float]) -> None:
    for fault in faults:
        if fault not in _MAY[verb]:
            raise Misconfigured(f"{verb.value} cannot fail by {fault.name}: {fault.value}")
