"""The protocol that is published for degrading to lists in Redis, beside ours: the same rungs, processes and faults.

A send that fails is tried again; ten failures in a row of a process set a flag at the coordinator. Who sees it sends to
the lists; a probe that the queue takes clears it. Readers read the queue; while they see the flag they pop from lists
where the queue yields nothing, and once it is cleared they read only the lists until these are empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from msgspec.structs import replace

from evermq.errors import EvermqError, Partial, Rejected, Unavailable, Uncertain
from evermq.message import NO_HEADERS, Message
from evermq.port import Delivery, Queue, Start
from evermq.position import Position
from evermq.slot import Slot
from evermq.testing.world import World
from evermq.testing.worlds.order import Run, play
from evermq.testing.worlds.order_plans import PLANS
from evermq.testing.worlds.order_rung import RungReader
from evermq.traits import Traits

__all__ = ["WORLDS", "PublishedRun"]

_PRODUCERS = ("p0", "p1")
_FAILURES_MAX = 10
_PAUSE_MS = 50  # between two attempts of a send, and two looks at the flag
_PROBE = b"a probe"


class PublishedRun(Run):
    """One seed. is_degraded: the flag at the coordinator, which is as far away as the progress of ours."""

    def queues(self) -> list[Callable[[], Queue]]:
        self.is_degraded = False
        return [partial(self.queue, None, name) for name in _PRODUCERS]

    def queue(self, slot: Slot | None = None, process: str = "") -> Queue:
        return _Client(self, process)

    def settle(self, process: str, delivery: Delivery) -> bool:
        """Nobody remembers what was handled."""
        return True

    async def _cut_off(self) -> None:
        """Any process hears of the flag late."""
        name = self.clock.random.choice([*_PRODUCERS, *(consumer.name for consumer in self.consumers)])
        self.cut_off.add(name)
        await self.clock.sleep(1_500 + self.clock.random.randrange(2_000))
        self.cut_off.discard(name)

    async def reach_coordinator(self, process: str, change: bool | None = None) -> bool:
        """Read the flag, or change it first. Raises Unavailable."""
        await self._reach_store(process, "flag", False)
        self.is_degraded = self.is_degraded if change is None else change
        return self.is_degraded


class _Client:
    """See `Queue`: the wrapped client of one process. sees: the flag, as this process last heard of it."""

    name = "orders"

    def __init__(self, run: PublishedRun, process: str) -> None:
        self.run = run
        self.process = process
        self.sees = False
        self.rungs = run.rungs
        self._failures = 0
        self._tasks = [asyncio.create_task(each) for each in (self._watch(), self._probe())]

    @property
    def traits(self) -> Traits:
        return self.rungs["primary"].traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        outcomes = [await self._send(message) for message in messages]
        positions = [each for each in outcomes if isinstance(each, Position)]
        if len(positions) < len(outcomes):
            raise Partial(outcomes)
        return positions

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> _Reader:
        return _Reader(self, group, start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return sum([await rung.backlog(group, lane) for rung in self.rungs.values()])

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _send(self, message: Message) -> Position | EvermqError:
        doubt: EvermqError | None = None
        while not self.sees:
            outcome = await self._offer("primary", message)
            if isinstance(outcome, Position | Rejected):
                self._failures = 0
                return outcome
            doubt = outcome if isinstance(outcome, Uncertain) else doubt
            self._failures += 1
            if self._failures >= _FAILURES_MAX:
                await self._tell(True)
            await self.run.clock.sleep(_PAUSE_MS)
        outcome = await self._offer("standby", message)
        return doubt if doubt and isinstance(outcome, EvermqError) else outcome

    async def _tell(self, is_degraded: bool) -> None:
        """Change the flag for everybody, if the coordinator can be reached; the failures are counted on."""
        with suppress(Unavailable):
            self.sees = await self.run.reach_coordinator(self.process, is_degraded)
            self._failures = 0

    async def _watch(self) -> None:
        while True:
            with suppress(Unavailable):  # what it last heard goes on to be true here
                self.sees = await self.run.reach_coordinator(self.process)
            await self.run.clock.sleep(_PAUSE_MS)

    async def _probe(self) -> None:
        while True:
            await self.run.clock.sleep(10 * _PAUSE_MS)
            if self.sees:
                probe = Message("probe", _PROBE, _PROBE, NO_HEADERS, 0)
                if isinstance(await self._offer("primary", probe), Position):
                    await self._tell(False)

    async def _offer(self, key: str, message: Message) -> Position | EvermqError:
        """Where there is no key, the lists are taken in turn."""
        try:
            found = await self.rungs[key].append([message._replace(key=message.key or message.id.encode())])
        except Partial as error:
            return error.outcomes[0] if isinstance(error.outcomes[0], EvermqError) else error
        return found[0].under(key)


class _Reader:
    """See `Reader`. drains: the lists may hold something."""

    def __init__(self, client: _Client, group: str, start: Start) -> None:
        self._client = client
        self._group = group
        self._start = start
        self._readers: dict[str, RungReader] = {}
        self._drains = False

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        sees, wait_ms = self._client.sees, min(wait_ms, _PAUSE_MS)
        self._drains = self._drains or sees
        found = await self._read_mq(count_max, 0 if sees else wait_ms) if sees or not self._drains else []
        if found or not self._drains:
            return found
        found = await self._take("standby", count_max, wait_ms)
        if found:
            await self._readers["standby"].ack(found)  # as LPOP: what is handed out is gone from the list
        elif not sees:
            with suppress(Unavailable):
                self._drains = await self._client.rungs["standby"].backlog(self._group) > 0
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if mine := [each for each in deliveries if each.position.via == ("primary",)]:
            await self._readers["primary"].ack(mine)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        """No handler of the worlds in which this is played gives anything back."""

    async def close(self) -> None:
        await self._client.close()
        for reader in self._readers.values():
            reader.drop()

    async def _read_mq(self, count_max: int, wait_ms: int) -> list[Delivery]:
        found = await self._take("primary", count_max, wait_ms)
        await self.ack([each for each in found if each.message.body == _PROBE])
        return [each for each in found if each.message.body != _PROBE]

    async def _take(self, key: str, count_max: int, wait_ms: int) -> list[Delivery]:
        try:
            if key not in self._readers:
                self._readers[key] = await self._client.rungs[key].reader(self._group, start=self._start)
        except Unavailable:
            await self._client.run.clock.sleep(wait_ms)
            return []
        found = await self._readers[key].read(count_max=count_max, wait_ms=wait_ms)
        return [replace(each, position=each.position.under(key)) for each in found]


WORLDS = (
    World(
        "published-protocol",
        "the protocol that is published, under the faults of order-beside: it breaks",
        partial(play, PLANS["beside"][1], plan_run=PublishedRun),
        breaks=True,
    ),
)
