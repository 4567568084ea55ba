"""Calls a handler with a delivery, wherever it has to run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from evermq.port import Delivery

__all__ = ["Handler", "Threads"]

Handler = Callable[[Delivery], Awaitable[Any] | Any]


class Threads:
    """Those of one consumer: were they those of the loop, few handlers would run side by side, and while they do nobody
    else, the look-up of a name, say, would get one."""

    def __init__(self, count_max: int) -> None:
        self._pool = ThreadPoolExecutor(count_max, thread_name_prefix="evermq-handler")

    async def handle(self, handler: Handler, delivery: Delivery) -> None:
        """Call it, a plain function in a thread, and wait for it."""
        if inspect.iscoroutinefunction(handler):
            await handler(delivery)
            return
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._pool, copy_context().run, _call, handler, delivery)
        if inspect.isawaitable(result):
            await result

    def close(self) -> None:
        """They end with the calls that they are in."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _call(handler: Handler, delivery: Delivery) -> Any:
    try:
        return handler(delivery)
    except StopIteration as error:  # no future takes it: whoever waits for one would do so for ever
        raise RuntimeError(f"the handler raised {error!r}") from error
