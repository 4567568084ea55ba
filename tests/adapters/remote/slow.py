"""An owner whose appends take as long as a test wants, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evermq.adapters.memory import MemoryPlace, MemoryQueue
from evermq.adapters.remote.client import RemotePlace, RemoteQueue
from evermq.adapters.remote.server import Server
from evermq.message import Message
from evermq.position import Position


class Slow:
    """A queue in memory that takes nothing before it is let to. `begun`: how many appends came to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = asyncio.Semaphore(0)
        self.may_go = asyncio.Event()
        real = MemoryQueue.append

        async def append(queue: MemoryQueue, messages: Sequence[Message]) -> Sequence[Position]:
            self.begun.release()
            await self.may_go.wait()
            return await real(queue, messages)

        monkeypatch.setattr(MemoryQueue, "append", append)


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[Server, RemoteQueue]]:
    server = await Server.start(MemoryPlace(), path)
    place = await RemotePlace.connect(path)
    async with asyncio.timeout(20):
        yield server, await place.queue("orders")
    await place.close()
    await server.close()
