"""Callers that wait for something of which there is enough for one at a time, say."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

__all__ = ["Waiters"]


class Waiters:
    """In the order in which they came; many may wait, and many give up. True while somebody waits."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._turns)

    async def wait(self) -> None:
        """Until it is this one's turn; cancelled then, it passes it on."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.wake()
            raise
        finally:
            self._turns.pop(turn, None)

    def wake(self) -> None:
        """It is the turn of the first who waits still."""
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return

    def wake_all(self) -> None:
        """Of everybody."""
        while self._turns:
            self.wake()
