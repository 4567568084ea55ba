"""Is a rung back? A message is produced on a topic of its own there, and read back: no consumer ever sees a probe.

Where a place says how many servers share its topics, the topic has a lane for each, and a message goes into every one:
else the one server that happens to have the probe's lane would speak for those that are away.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError, Unavailable
from evermq.message import MessageFactory
from evermq.numbers import key_of_lane
from evermq.port import DropsGroups, HasNodes, Place, Queue, Reader

__all__ = ["PREFIX", "TOPIC_MS_MAX", "Probe", "drop_probe"]

T = TypeVar("T")
PREFIX = "evermq-probe."  # topics that begin so are probes'
TOPIC_MS_MAX = 6 * 3_600_000  # no probe keeps a topic for longer
_NAMES_MAX = 100
_MADE_ANEW = re.compile(r"-[0-9]{1,2}$")
_FIRST_MS_MAX = 15_000  # making a topic and joining a group take their time
_JOIN_MS_MAX = 8_000  # the first message through a reader that has just joined
_CLOSE_MS_MAX = 3_000
_CLOSE_PLACE_MS_MAX = 60_000  # a driver may wait for the end of a long poll, and nobody has to wait for that
_LANES_MAX = 32


class Probe:
    """Of one rung, for one process.

    connect: to the rung's place; tried again with each trip until it works. topic: for this process alone, so that it
    reads back what it produced; made when it is first needed, and dropped with `close`. Its group is for this process
    alone as well: Kafka has one group of a name for all topics, and whoever joins or leaves makes all the others stop.
    Where servers come or go, and after `TOPIC_MS_MAX`, the topic is made anew under one more name, with a lane for each
    of those that are there.
    trip_ms_max: how long a round trip may take once the topic is there.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Place]],
        topic: str,
        *,
        trip_ms_max: int = 3_000,
        clock: Clock = SYSTEM,
    ) -> None:
        self._connect = connect
        self._topic = topic
        self._group = _group_of(topic)
        self._trip_ms_max = trip_ms_max
        self._clock = clock
        self._make = MessageFactory(clock)
        self._place: Place | None = None
        self._queue: Queue | None = None
        self._reader: Reader | None = None
        self._lanes = 1
        self._made_anew = 0
        self._made_ms: int | None = None
        self._hanging: set[asyncio.Future[Any]] = set()
        self._cut: asyncio.Future[Any] | None = None  # a trip, by who asked for it

    async def trip(self) -> int:
        """Go there and back; returns how long it took, in milliseconds.

        Raises Unavailable where that did not work in time, and Rejected where this process may not have a topic there.
        """
        return await self._within(self._trip(), _FIRST_MS_MAX + self._trip_ms_max + 3 * _CLOSE_MS_MAX)

    async def _within(self, work: Coroutine[Any, Any, T], limit_ms: int) -> T:
        """Its result. A driver that neither answers nor lets itself be cancelled is left behind with all that was open:
        waiting for it, nobody would ever see that the rung is well again."""
        going = asyncio.ensure_future(work)
        try:
            await asyncio.wait([going], timeout=limit_ms / 1000)
        except asyncio.CancelledError:
            self._cut = going
            going.cancel()
            raise
        if going.done():
            return going.result()
        going.cancel()
        self._leave(going)
        self._place = self._queue = self._reader = None
        raise Unavailable(f"a probe of {self._topic} hangs")

    def _leave(self, going: asyncio.Future[Any]) -> None:
        """Let something go on that nobody waits for any longer."""
        self._hanging.add(going)
        going.add_done_callback(self._forget)

    def _forget(self, ended: asyncio.Future[Any]) -> None:
        self._hanging.discard(ended)
        if not ended.cancelled():
            ended.exception()  # looked at: nobody waits for it

    async def _trip(self) -> int:
        try:
            async with asyncio.timeout(_FIRST_MS_MAX / 1000):
                queue, reader = await self._open()
            async with asyncio.timeout(self._trip_ms_max / 1000):
                return await self._go(queue, reader)
        except TimeoutError:
            await self._let_go(drop=self._lanes > 1)
            raise Unavailable(f"a probe of {self._topic} did not come back in time") from None
        except BaseException:
            # Who cuts it ends, and nobody makes use of the topic again.
            await self._let_go(drop=self._lanes > 1 or self._cut is not None)
            raise

    async def expire(self) -> None:
        """Take a topic away that was there for long: so whoever sees one for longer still knows that it is nobody's.
        The next trip makes another. To be called now and then, whether there are trips or not."""
        if self._made_ms is not None and self._clock.monotonic_ms() - self._made_ms >= TOPIC_MS_MAX:
            await self.close()

    async def close(self) -> None:
        """Take the topic away again, if it was made, also by a trip that was cut just now."""
        if self._cut:
            await asyncio.wait([self._cut], timeout=3 * _CLOSE_MS_MAX / 1000)
        with contextlib.suppress(Unavailable):
            await self._within(self._let_go(drop=True), 3 * _CLOSE_MS_MAX)

    async def _open(self) -> tuple[Queue, Reader]:
        if self._place and await _nodes(self._place) > self._lanes:
            await self._let_go(drop=True)
        if self._queue is None or self._reader is None:
            self._place = await self._connect()
            self._lanes = await _nodes(self._place)
            if self._made_ms is None:  # else it was there before the rung failed
                self._made_ms = self._clock.monotonic_ms()
            await self._place.create(self._name, groups=(self._group,), lanes=self._lanes)
            self._queue = await self._place.queue(self._name)
            self._reader = await self._queue.reader(self._group)
            async with asyncio.timeout(_JOIN_MS_MAX / 1000):
                await self._go(self._queue, self._reader)  # nobody is to take joining a group for a slow rung
        return self._queue, self._reader

    @property
    def _name(self) -> str:
        """Of the topic: another one each time, since one that is dropped may take its time to go."""
        return f"{self._topic}-{self._made_anew % _NAMES_MAX}" if self._made_anew else self._topic

    async def _go(self, queue: Queue, reader: Reader) -> int:
        lanes = queue.traits.lanes
        messages = [self._make(b"probe", key=key_of_lane(lane, lanes)) for lane in range(lanes)]
        left = {message.id for message in messages}
        began_ms = self._clock.monotonic_ms()
        await queue.append(messages)
        while left:
            found = await reader.read(count_max=100, wait_ms=self._trip_ms_max)
            await reader.ack(found)  # what earlier trips gave up, too
            left -= {delivery.message.id for delivery in found}
        return self._clock.monotonic_ms() - began_ms

    async def _let_go(self, *, drop: bool) -> None:
        """Close everything; an engine that is away keeps the topic, until somebody sweeps it."""
        place, queue, reader, name = self._place, self._queue, self._reader, self._name
        self._made_anew += drop
        self._made_ms = None if drop else self._made_ms
        self._place = self._queue = self._reader = None
        async with _at_most(_CLOSE_MS_MAX):
            for each in (reader, queue):
                if each:
                    await each.close()
        if place and drop:
            async with _at_most(_CLOSE_MS_MAX):
                await drop_probe(place, name)
        if place:
            closing = asyncio.ensure_future(_close(place))
            self._leave(closing)
            await asyncio.wait([closing], timeout=_CLOSE_MS_MAX / 1000)


async def drop_probe(place: Place, topic: str) -> None:
    """Take the topic of a probe away, and its group, which RocketMQ keeps without its topic. Raises as `Place.drop`."""
    if isinstance(place, DropsGroups):
        with contextlib.suppress(EvermqError):  # it is not there, or is just ending
            await place.drop_group(topic, _group_of(topic))
    await place.drop(topic)


@contextlib.asynccontextmanager
async def _at_most(limit_ms: int) -> AsyncIterator[None]:
    """What does not work, or takes too long, is given up."""
    with contextlib.suppress(EvermqError, TimeoutError):
        async with asyncio.timeout(limit_ms / 1000):
            yield


async def _close(place: Place) -> None:
    async with _at_most(_CLOSE_PLACE_MS_MAX):
        await place.close()


def _group_of(topic: str) -> str:
    """The same for all topics of a probe."""
    return f"probe-{_MADE_ANEW.sub('', topic.rpartition('.')[2])}"


async def _nodes(place: Place) -> int:
    return min(max(1, await place.nodes()), _LANES_MAX) if isinstance(place, HasNodes) else 1
