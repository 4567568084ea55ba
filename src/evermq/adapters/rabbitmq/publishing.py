"""A channel whose confirms are counted: a future a batch, not a message."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiormq.abc import ChannelFrame
from pamqp import commands
from pamqp.header import ContentHeader

from evermq.adapters.rabbitmq.content import frames_of, id_of
from evermq.adapters.rabbitmq.writing import Writing
from evermq.errors import EvermqError, NoSuchTopic
from evermq.message import Message

__all__ = ["Flight", "Publishing", "publish_frame"]

_FRAME_BYTES = 8  # around what a frame carries


@dataclass(slots=True, eq=False)
class Flight:
    """Messages on their way. confirmed: by row, 1 where the server has it. refused: rows that it certainly has not.

    lost: why nothing more will come, if the channel is gone.
    """

    messages: Sequence[Message]
    done: asyncio.Future[None]
    first: int = 0
    left: int = 0
    confirmed: bytearray = field(default_factory=bytearray)
    refused: dict[int, EvermqError] = field(default_factory=dict)
    nacked: list[int] = field(default_factory=list)
    lost: BaseException | None = None


class Publishing(Writing):
    """Publishes batches, each as one write, in the order in which they are handed in."""

    def __init__(self, connector: Any, number: int, *, frame_buffer: int | None = None) -> None:
        super().__init__(connector, number, publisher_confirms=True, frame_buffer=frame_buffer)
        self._order = asyncio.Lock()
        self._last = 0
        self._open: dict[int, Flight] = {}
        self._returned: Counter[str] = Counter()
        self._ended = self.closing
        self._ended.add_done_callback(self._lose)
        self.proven = False  # something was confirmed: exchange and rights are as they should be

    async def send(self, messages: Sequence[Message], publishes: Sequence[bytes]) -> Flight:
        """Put a batch on its way. publishes: the frame basic.publish of each message.

        Raises Unavailable where nothing was sent, Rejected for what cannot be sent.
        """
        flight = Flight(messages, self.loop.create_future(), confirmed=bytearray(len(messages)), left=len(messages))
        async with self._order:
            frame = self._frame(messages, publishes)
            flight.first = self._last + 1
            self._last += len(messages)
            self._open.update(dict.fromkeys(range(flight.first, self._last + 1), flight))
            try:
                await self.write(frame)
            except BaseException:
                self._undo(flight)
                raise
        return flight

    def _frame(self, messages: Sequence[Message], publishes: Sequence[bytes]) -> ChannelFrame:
        """A batch as one write, which the next one waits for: else a server that does not read would be written to
        without end, and all of that would wait here."""
        parts: list[bytes] = []
        size = self.connection.connection_tune.frame_max - _FRAME_BYTES
        for message, publish in zip(messages, publishes, strict=True):
            parts.append(publish)
            parts += frames_of(message, self.number, size)
        return ChannelFrame(b"".join(parts), should_close=False, drain_future=self.loop.create_future())

    def _undo(self, flight: Flight) -> None:
        for tag in range(flight.first, self._last + 1):
            self._open.pop(tag, None)
        self._last = flight.first - 1

    async def _on_confirm_frame(self, frame: Any) -> None:
        tags = [frame.delivery_tag]
        if frame.multiple:
            tags = []
            for tag in self._open:
                if tag > frame.delivery_tag:
                    break
                tags.append(tag)
        nacked = isinstance(frame, commands.Basic.Nack)
        for tag in tags:
            flight = self._open.pop(tag, None)
            if flight is not None:
                self._settle(flight, tag - flight.first, nacked)

    def _settle(self, flight: Flight, row: int, nacked: bool) -> None:
        self.proven = True
        flight.left -= 1
        if self._returned and (id := flight.messages[row].id) in self._returned:
            self._returned -= Counter([id])
            flight.refused[row] = NoSuchTopic(
                f"message {id} came back: no group's queue is bound to its lane, so nobody would ever read it: "
                "evermq topics create URL --groups a,b"
            )
        elif nacked:
            flight.nacked.append(row)
        else:
            flight.confirmed[row] = 1
        if not flight.left and not flight.done.done():
            flight.done.set_result(None)

    async def _on_return_frame(self, frame: Any) -> None:
        """It comes before the confirm of the same message, which is an ack as for any other."""
        header = await self._get_frame()
        assert isinstance(header, ContentHeader)
        await self._read_content(frame, header)
        self._returned[id_of(header)] += 1

    def _lose(self, ended: asyncio.Future[Any]) -> None:
        reason = None if ended.cancelled() else ended.exception()
        for flight in set(self._open.values()):
            flight.lost = reason or ConnectionError("the channel was closed")
            if not flight.done.done():
                flight.done.set_result(None)
        self._open.clear()


def publish_frame(channel: int, exchange: str, routing_key: str) -> bytes:
    """basic.publish, mandatory."""
    method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    payload: bytes = ChannelFrame.marshall(channel, [method]).payload
    return payload
