"""The end of something that others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Ending"]


class Ending:
    """An end that comes once, goes on though who asked for it gives up, and is waited for by who asks again.

    Cut in its midst, as by a timeout around it, it would leave open what nobody closes any more: the messages of a
    reader come to no other one then."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether somebody asked for it."""
        return self._task is not None

    @property
    def is_over(self) -> bool:
        """Whether it was reached."""
        return self._task is not None and self._task.done()

    def begin(self, end: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """The end, begun if it was not."""
        if self._task is None:
            self._task = asyncio.create_task(end())
        return self._task

    async def reach(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin the end, if it has not begun, and wait for it. Raises what that raised, every time."""
        await asyncio.shield(self.begin(end))
