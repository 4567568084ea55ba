"""From batches to outcomes: what is confirmed, what is refused, and what nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evermq.adapters.rabbitmq.errors import failure
from evermq.adapters.rabbitmq.link import Link, leave
from evermq.adapters.rabbitmq.publishing import Flight, Publishing, publish_frame
from evermq.adapters.rabbitmq.topic import Topic
from evermq.ending import Ending
from evermq.errors import Denied, EvermqError, NoSuchTopic, Overloaded, TooLarge, Unavailable, Uncertain
from evermq.lanes import lane_of
from evermq.message import Message
from evermq.position import Position

__all__ = ["Outcome", "Publisher"]

Outcome = Position | EvermqError
_CERTAIN = (Denied, NoSuchTopic, TooLarge)  # classes of what closes a channel and says that the message was not taken


class Publisher:
    """Appends to the exchange of one topic."""

    def __init__(self, topic: Topic, link: Link, timeout_ms: int) -> None:
        self._topic = topic
        self._link = link
        self._timeout_ms = timeout_ms
        self._opening = asyncio.Lock()
        self._ending = Ending()
        self._channel: Publishing | None = None
        self._turn = 0
        self._lanes = [Position(str(lane), None) for lane in range(topic.lanes)]
        self._publishes: list[bytes] = []

    async def append(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """The outcome of each message. Raises what holds for all of them.

        The first message of a channel goes alone: the server closes a channel over a missing exchange or right, and
        then nothing else was on its way, so that it is known that nothing was appended.
        """
        channel = await self._open()
        if channel.proven or len(messages) == 1:
            return await self._publish(channel, messages)
        [first] = await self._publish(channel, messages[:1])
        if isinstance(first, Uncertain | Unavailable):
            unsent = Unavailable(f"rabbitmq {self._link.where}: not sent, because it is not known of the one before it")
            return [first, *[unsent] * (len(messages) - 1)]
        if not channel.proven:
            assert isinstance(first, EvermqError)
            raise first
        try:
            return [first, *await self._publish(channel, messages[1:])]
        except EvermqError as error:
            return [first, *[error] * (len(messages) - 1)]

    async def close(self) -> None:
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        """A server that stopped reading reads no goodbye. The channel holds nothing, and goes with its connection."""
        if self._channel and not self._channel.is_closed and await _answers(self._channel):
            await asyncio.wait([leave(self._link, self._channel)])

    async def _open(self) -> Publishing:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.channel(Publishing)
                number, name = self._channel.number, self._topic.name
                self._publishes = [publish_frame(number, name, str(lane)) for lane in range(self._topic.lanes)]
            channel = self._channel
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                await channel.connection.ready()
        except TimeoutError as error:
            raise Overloaded(
                f"rabbitmq {self._link.where} takes nothing at the moment, because its memory or disk is short"
            ) from error
        return channel

    async def _publish(self, channel: Publishing, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Raises where nothing of these was sent."""
        self._turn += 1
        count = self._topic.lanes
        spare = self._turn % count
        lanes = [spare if message[1] is None else lane_of(message[1], count) for message in messages]
        flight: Flight | None = None
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                flight = await channel.send(messages, [self._publishes[lane] for lane in lanes])
                await flight.done
        except TimeoutError as error:
            if await _answers(channel):
                self._link.drop(channel.connection)  # it keeps silent, and later confirms would help nobody
            if flight is None:
                raise Unavailable(
                    f"rabbitmq {self._link.where}: nothing was sent: what came before was not written in time"
                ) from error
        if not flight.lost and flight.left == 0 and not flight.refused and not flight.nacked:
            return [self._lanes[lane] for lane in lanes]
        return self._outcomes(flight, lanes)

    def _outcomes(self, flight: Flight, lanes: Sequence[int]) -> Sequence[Outcome]:
        pending = self._pending(flight)
        outcomes: list[Outcome] = [
            self._lanes[lane] if confirmed else pending for lane, confirmed in zip(lanes, flight.confirmed, strict=True)
        ]
        for row in flight.nacked:
            outcomes[row] = self._nacked()
        for row, error in flight.refused.items():
            outcomes[row] = error
        return outcomes

    def _pending(self, flight: Flight) -> EvermqError:
        """What is to be said of those that nothing was heard of."""
        doing = f"append to {self._topic.name}"
        said = failure(flight.lost or TimeoutError(), self._link.where, doing)
        alone = len(flight.messages) == 1
        if isinstance(said, Uncertain) or (alone and isinstance(said, _CERTAIN)):
            return said
        return Uncertain(f"rabbitmq {self._link.where}: {doing}: it is not known whether that was done: {said}")

    def _nacked(self) -> EvermqError:
        """A queue said no. Where there are several groups, the queue of another may have said yes."""
        text = f"rabbitmq {self._link.where}: a queue of {self._topic.name} refused it: it is full, or it failed"
        return Uncertain(text) if len(self._topic.groups) > 1 else Unavailable(text)


async def _answers(channel: Publishing) -> bool:
    """Whether the server has not said that it stopped reading."""
    try:
        async with asyncio.timeout(0):
            await channel.connection.ready()
    except TimeoutError:
        return False
    return True
