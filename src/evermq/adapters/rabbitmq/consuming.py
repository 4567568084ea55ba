"""A channel that consumes one queue into a sink, without a task for each delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp import commands
from pamqp.header import ContentHeader

from evermq.adapters.rabbitmq.writing import Writing
from evermq.errors import Unavailable

__all__ = ["Consuming", "Sink"]

Sink = Callable[[int, ContentHeader, bytes, bool], None]  # delivery tag, header, body, whether it was delivered before


class Consuming(Writing):
    """sink: takes what is delivered. ended: called when nothing more will come."""

    def __init__(
        self,
        connector: Any,
        number: int,
        *,
        sink: Sink,
        ended: Callable[[], None],
        frame_buffer: int | None = None,
    ) -> None:
        super().__init__(connector, number, publisher_confirms=False, frame_buffer=frame_buffer)
        self._sink = sink
        self.cancelled = False
        self._told = ended
        self._ending = self.closing
        self._ending.add_done_callback(lambda _: ended())
        self.on_consumer_cancel_callbacks.add(self._cancelled)

    async def consume(self, queue: str, prefetch: int) -> None:
        """Have what is in the queue sent, up to so many that are not settled."""
        await self.basic_qos(prefetch_count=prefetch)
        await self.basic_consume(queue, _nowhere, consumer_tag="evermq")

    async def settle(self, upto: int, others: Sequence[int]) -> None:
        """Acknowledge all up to a tag, 0 for none, and single ones; where the channel ends, all come again.

        It goes on where the caller is cancelled, who has struck them off already."""
        frames = [commands.Basic.Ack(delivery_tag=upto, multiple=True)] if upto else []
        frames += [commands.Basic.Ack(delivery_tag=tag) for tag in others]
        if frames:
            telling = self._tell(ChannelFrame.marshall(self.number, frames))
            if self.write_queue.full():
                await asyncio.wait([asyncio.create_task(telling)])
            else:
                await telling

    async def _tell(self, frame: ChannelFrame) -> None:
        with suppress(Unavailable):
            await self.write(frame)

    async def _on_deliver_frame(self, frame: commands.Basic.Deliver) -> None:
        header = await self._get_frame()
        assert isinstance(header, ContentHeader)
        delivered = await self._read_content(frame, header)
        self._sink(frame.delivery_tag or 0, header, delivered.body, bool(frame.redelivered))

    def _cancelled(self, _: Any) -> None:
        """The queue was deleted, or its node went away."""
        self.cancelled = True
        self._told()


async def _nowhere(_: DeliveredMessage) -> None:
    """Deliveries do not come this way."""
