"""One reader's share in one lane: its channel, and what it has of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from pamqp.header import ContentHeader

from evermq.adapters.rabbitmq.consuming import Consuming
from evermq.adapters.rabbitmq.content import attempt_of, message_of
from evermq.adapters.rabbitmq.link import Link, leave
from evermq.adapters.rabbitmq.window import LaneWindow
from evermq.clock import Clock
from evermq.errors import Unavailable, Uncertain
from evermq.port import Delivery
from evermq.position import Position

__all__ = ["Lane"]

_AWAY_MS = 300  # what was given away is not asked for again before


class Lane:
    """name: of the queue. wake: called when something came or nothing more will.

    The broker makes one reader of a lane active, the first that came; the others stand in line.
    """

    def __init__(self, topic: str, number: int, name: str, link: Link, prefetch: int, clock: Clock) -> None:
        self.number = number
        self.name = name
        self._topic = topic
        self._link = link
        self._prefetch = prefetch
        self._clock = clock
        self._channel: Consuming | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._position = Position(str(number), None)
        self._away_until_ms = 0
        self._came = False
        self.window = LaneWindow()
        self.session = ""

    @property
    def is_open(self) -> bool:
        """Whether the broker may send something."""
        return self._channel is not None and not self._channel.is_closed and not self._channel.cancelled

    @property
    def is_away(self) -> bool:
        """Given to others a moment ago."""
        return self._clock.monotonic_ms() < self._away_until_ms

    @property
    def is_active(self) -> bool:
        """Something came, so the lane is this reader's."""
        return self.is_open and self._came

    async def open(self, wake: Callable[[], None]) -> None:
        """Stand in line, or at its head. Raises NoSuchTopic, Denied, Unavailable."""
        await self._leave()
        self.session = self._clock.token()  # tags count from 1 in every channel, of every process
        self._came = False
        window = self.window = LaneWindow()

        def sink(tag: int, header: ContentHeader, body: bytes, redelivered: bool) -> None:
            place = (self._topic, self.number, self.session, tag)
            window.add(tag, message_of(header, body, place), attempt_of(header, redelivered))
            self._came = True
            wake()

        channel = await self._link.channel(Consuming, sink=sink, ended=wake)
        self._channel = channel
        try:
            await self._link.ask(channel.consume(self.name, self._prefetch), f"read {self.name}", patient=True)
        except Uncertain as error:
            raise Unavailable(str(error)) from error

    def take(self, count_max: int) -> list[Delivery]:
        """What may be handed out now."""
        if not self.is_open:
            return []
        session, position = self.session, self._position
        found = self.window.take(count_max, self._clock.monotonic_ms())
        return [Delivery(item.message, position, (session, tag), item.attempt) for tag, item in found]

    async def settle(self, session: str, tags: Iterable[int]) -> None:
        """Of what came in a session that is over nothing: it comes again."""
        channel = self._channel
        if channel and self._is_in(session):
            upto, others = self.window.settle(tags)
            await channel.settle(upto, others)

    def release(self, session: str, tags: Iterable[int], due_ms: float) -> None:
        """See `settle`."""
        if self._is_in(session):
            self.window.release(tags, due_ms)

    def _is_in(self, session: str) -> bool:
        return self.is_open and session == self.session

    async def give_away(self) -> None:
        """To the next in line, with all that is there; not if the application has something of it by now."""
        if self.window.out_count:
            return
        self._away_until_ms = self._clock.monotonic_ms() + _AWAY_MS
        await self._leave()

    async def close(self) -> None:
        """Give back. Where something was released with a delay, not before its time, so that the delay holds."""
        left_ms = self.window.last_due_ms() - self._clock.monotonic_ms() if self.is_open else 0
        if left_ms > 0:
            await self._clock.sleep(left_ms)
        await self._leave()

    async def _leave(self) -> None:
        """Close the channel: the broker gives back what was out and makes the next reader active in one step. That goes
        on where the caller is cancelled, and whoever comes next waits for it."""
        channel, self._channel = self._channel, None
        self.window = LaneWindow()
        if channel is not None and not channel.is_closed:
            self._leaving = leave(self._link, channel)
        if self._leaving:
            await asyncio.wait([self._leaving])
