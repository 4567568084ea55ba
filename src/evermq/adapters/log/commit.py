"""One group commit: the batches that are written together, and who waits for them."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evermq.adapters.log.batch import Batch

__all__ = ["Commit", "Latch", "Ticket"]


class Ticket:
    """What all callers of one event loop wait for together: one future a commit, not one a message."""

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
        while not self.is_settled:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise asyncio.CancelledError
            if self.successor is None or self.successor.cancelled():
                self.successor = self.loop.create_future()
            try:
                await self.successor
            except asyncio.CancelledError:
                continue


class Latch:
    """What one blocking caller waits for. `leads`: it was woken to write the next commit itself."""

    __slots__ = ("_lock", "leads")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self.leads = False

    def wait(self) -> None:
        self._lock.acquire()

    def open(self) -> None:
        self._lock.release()


class Commit:
    """`size`: bytes of its batches, roughly. `tickets`: of the loops that wait. `latches`: of the threads that do."""

    __slots__ = ("batches", "latches", "size", "tickets")

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.size = 0
        self.tickets: dict[asyncio.AbstractEventLoop, Ticket] = {}
        self.latches: list[Latch] = []

    def ticket(self, loop: asyncio.AbstractEventLoop) -> Ticket:
        """What callers of this loop wait for."""
        found = self.tickets.get(loop)
        if found is None:
            found = self.tickets[loop] = Ticket(loop)
        return found
