"""An owner that is closed in order: what it was asked, what it had not taken yet, and the socket it leaves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.adapters.remote.slow import Slow, served

from evermq.adapters.memory import MemoryPlace
from evermq.adapters.remote import server as serving
from evermq.adapters.remote.client import RemotePlace
from evermq.adapters.remote.connection import ConnectionLost
from evermq.adapters.remote.server import Server
from evermq.message import MessageFactory

make = MessageFactory()


async def test_append_under_way_is_done_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    async with served(tmp_path / "socket") as (server, queue):
        appending = asyncio.create_task(queue.append([make("a book")]))
        await slow.begun.acquire()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        slow.may_go.set()
        await closing
        assert len(await appending) == 1


async def test_acknowledgement_and_release_under_way_are_done_and_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path / "socket") as (server, queue):
        await queue.append([make("one"), make("two")])
        reader = await queue.reader("g")
        found: list[object] = []
        while len(found) < 2:
            found += await reader.read(count_max=2, wait_ms=1_000)
        begun, may_go = asyncio.Semaphore(0), asyncio.Event()
        for verb in ("ack", "release"):
            real = serving._VERBS[verb]

            async def late(*arguments: object, real: object = real) -> None:
                begun.release()
                await may_go.wait()
                await real(*arguments)  # type: ignore[operator]

            monkeypatch.setitem(serving._VERBS, verb, late)
        asked = [asyncio.create_task(reader.ack(found[:1])), asyncio.create_task(reader.release(found[1:]))]  # type: ignore[arg-type]
        for _ in asked:
            await begun.acquire()
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        may_go.set()
        await closing
        await asyncio.gather(*asked)


async def test_read_that_waits_keeps_nobody_from_closing(tmp_path: Path) -> None:
    async with served(tmp_path / "socket") as (server, queue):
        reading = asyncio.create_task((await queue.reader("g")).read(count_max=1, wait_ms=3_600_000))
        await asyncio.sleep(0.05)
        await server.close()
        with pytest.raises(ConnectionLost):
            await reading


async def test_append_that_was_not_taken_any_more_is_known_not_to_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_REQUESTS_MAX", 1)
    slow = Slow(monkeypatch)
    async with served(tmp_path / "socket") as (server, queue):
        first = asyncio.create_task(queue.append([make("taken")]))
        await slow.begun.acquire()
        others = [asyncio.create_task(queue.append([make("not taken")])) for _ in range(3)]
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0)
        slow.may_go.set()
        await closing
        assert len(await first) == 1
        for other in others:
            with pytest.raises(ConnectionLost) as caught:
                await other
            assert not caught.value.sent


async def test_append_that_does_not_end_keeps_nobody_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    monkeypatch.setattr(serving, "_END_MS_MAX", 50)
    async with served(tmp_path / "socket") as (server, queue):
        appending = asyncio.create_task(queue.append([make("a book")]))
        await slow.begun.acquire()
        await server.close()
        assert "Uncertain" in repr((await asyncio.gather(appending, return_exceptions=True))[0])


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


async def test_server_that_is_given_up_while_it_starts_listens_no_more(tmp_path: Path) -> None:
    """Who connected would wait for ever for answers of a place that was closed."""
    path = tmp_path / "socket"
    starting = asyncio.create_task(Server.start(MemoryPlace(), path))
    while not path.exists():
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(path)
