"""An owner that is closed in order: the socket that it leaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evermq.adapters.memory import MemoryPlace
from evermq.adapters.remote.client import RemotePlace, RemoteQueue
from evermq.adapters.remote.server import Server
from evermq.message import MessageFactory

make = MessageFactory()


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[Server, RemoteQueue]]:
    server = await Server.start(MemoryPlace(), path)
    place = await RemotePlace.connect(path)
    async with asyncio.timeout(20):
        yield server, await place.queue("orders")
    await place.close()
    await server.close()


async def test_socket_of_another_owner_at_the_same_path_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    first = await Server.start(MemoryPlace(), tmp_path / "log" / "socket")
    (tmp_path / "log").rename(tmp_path / "moved")
    (tmp_path / "log").mkdir()
    async with served(tmp_path / "log" / "socket") as (_, queue):
        await first.close()
        assert (tmp_path / "log" / "socket").exists()
        assert len(await queue.append([make("a book")])) == 1


async def test_forked_child_leaves_the_socket_and_the_connections_to_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path / "socket") as (server, queue):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            await server.close()
        assert len(await queue.append([make("a book")])) == 1
        await (await RemotePlace.connect(tmp_path / "socket")).close()
    assert not (tmp_path / "socket").exists()
