"""Callers that wait for something of which there is enough for one at a time, say."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Waiters"]


class Waiters:
    """In the order in which they came; many may wait, and many give up. True until the last has gone on."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns: OrderedDict[object, asyncio.Future[None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._turns)

    async def wait(self, is_due: Callable[[], bool]) -> None:
        """Until it is woken, and `is_due`; until then it keeps its place before all that came later. Who goes on, or
        gives up, wakes the next."""
        place, loop = object(), asyncio.get_running_loop()
        try:
            while True:
                self._turns[place] = turn = loop.create_future()
                await turn
                if is_due():
                    return
        finally:
            del self._turns[place]
            self.wake()

    def wake(self) -> None:
        """The first."""
        first = next(iter(self._turns.values()), None)
        if first and not first.done():
            first.set_result(None)

    def wake_all(self) -> None:
        """Everybody."""
        for turn in self._turns.values():
            if not turn.done():
                turn.set_result(None)
