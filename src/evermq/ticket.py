"""One future for many callers: they are woken together, and one that is cancelled does not take the others with it."""

from __future__ import annotations

import asyncio

__all__ = ["Ticket", "is_cancelled"]


class Ticket:
    """What callers of one event loop wait for together: `await ticket.future`, and `wait_on` if that is cancelled."""

    __slots__ = ("future", "is_settled", "loop", "successor")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.is_settled = False
        self.future: asyncio.Future[None] = loop.create_future()
        self.successor: asyncio.Future[None] | None = None

    def settle(self) -> None:
        """Wake everybody."""
        self.is_settled = True
        if not self.future.done():
            self.future.set_result(None)
        if self.successor and not self.successor.done():
            self.successor.set_result(None)

    async def wait_on(self) -> None:
        """Go on waiting where the shared future was cancelled by another caller; one's own cancellation goes up."""
        while True:
            if is_cancelled():
                raise asyncio.CancelledError
            if self.is_settled:
                return
            if self.successor is None or self.successor.cancelled():
                self.successor = self.loop.create_future()
            try:
                await self.successor
            except asyncio.CancelledError:
                continue


def is_cancelled() -> bool:
    """Whether a CancelledError that came up is meant for this task, and not for something that it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
