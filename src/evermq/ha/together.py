"""Several things at once: all of them are tried, whatever becomes of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Protocol, TypeVar

from evermq.errors import EvermqError

__all__ = ["Closes", "close_all", "together"]

T = TypeVar("T")
_CLOSE_MS_MAX = 5_000


class Closes(Protocol):
    """A queue or reader."""

    async def close(self) -> None: ...


async def together(acts: Iterable[Awaitable[T]]) -> list[T]:
    """Await all side by side; once every one has ended, raise the first error, if there is any."""
    results = await asyncio.gather(*acts, return_exceptions=True)
    found: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


async def close_all(things: Iterable[Closes], limit_ms: int = _CLOSE_MS_MAX) -> None:
    """Close all side by side, so that one that hangs or fails keeps no other open.

    What has not closed by `limit_ms` is left behind, and an EvermqError of closing is passed over: a queue that is
    gone closes no more, and what it still held is its own to give back. Raises what else went wrong, at the end.
    """
    closing = [asyncio.ensure_future(thing.close()) for thing in things]
    if closing:
        await asyncio.wait(closing, timeout=limit_ms / 1000)
    for task in closing:
        task.cancel()  # of no effect on one that has ended
    for task in closing:
        error = task.exception() if task.done() and not task.cancelled() else None
        if error and not isinstance(error, EvermqError):
            raise error
