"""What all callers of one event loop wait for together: one future a group, not one a message."""

from __future__ import annotations

import asyncio

__all__ = ["Ticket"]


class Ticket:
    """`size`: bytes of its batches. `outstanding`: how many of them are not settled."""

    __slots__ = ("future", "loop", "outstanding", "size", "successor")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.size = 0
        self.outstanding = 0
        self.future: asyncio.Future[None] = loop.create_future()
        self.successor: asyncio.Future[None] | None = None

    def settle(self) -> None:
        """Wake everybody."""
        if not self.future.done():
            self.future.set_result(None)
        if self.successor and not self.successor.done():
            self.successor.set_result(None)

    async def wait_on(self) -> None:
        """Go on waiting where the shared future was cancelled by another caller; one's own cancellation goes up."""
        while self.outstanding:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise asyncio.CancelledError
            if self.successor is None or self.successor.cancelled():
                self.successor = self.loop.create_future()
            try:
                await self.successor
            except asyncio.CancelledError:
                continue
