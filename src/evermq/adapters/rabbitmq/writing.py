"""A channel that writes nothing any more once it is left."""

from __future__ import annotations

import asyncio
from typing import Any

from aiormq.abc import ChannelFrame, ExceptionType, TimeoutType
from aiormq.channel import Channel

from evermq.errors import Unavailable

__all__ = ["Writing"]


class Writing(Channel):
    """What waits for room in the connection goes with its channel. Written later it would be for a channel that the
    server has not, for which it ends the connection, or for another one that has the number by then."""

    def __init__(self, connector: Any, number: int, *, publisher_confirms: bool, frame_buffer: int | None) -> None:
        super().__init__(connector, number, publisher_confirms=publisher_confirms, frame_buffer=frame_buffer)
        self._left = self.loop.create_future()

    async def write(self, frame: ChannelFrame) -> None:
        """Have it written, once there is room. Raises Unavailable where the channel is left first.

        The driver's own wait is of no use: what it waits for may come in the moment in which the channel is left."""
        while self.write_queue.full() and not self._left.done():
            room = asyncio.create_task(self.write_queue.join())
            try:
                await asyncio.wait([room, self._left], return_when=asyncio.FIRST_COMPLETED)
            finally:
                room.cancel()
        if self._left.done():
            raise Unavailable("its channel was closed before anything was sent")
        self.write_queue.put_nowait(frame)

    async def close(self, exc: ExceptionType | None = asyncio.CancelledError, timeout: TimeoutType = None) -> None:
        """The driver's, which also comes here itself where the channel or its connection was lost."""
        if not self._left.done():
            self._left.set_result(None)
        await super().close(exc, timeout)
