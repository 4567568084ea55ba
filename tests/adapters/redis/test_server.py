"""Connections to one server, over a driver whose server never answers."""

from __future__ import annotations

import asyncio
from typing import Any

from evermq.adapters.redis.script import command
from evermq.adapters.redis.server import Server
from evermq.errors import Uncertain


class Silent:
    """A connection of the driver on which nothing ever comes back."""

    _writer = None
    is_connected = True

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    async def connect(self) -> None: ...

    async def send_packed_command(self, *_: Any, **__: Any) -> None: ...

    async def read_response(self) -> None:
        await self._ended.wait()
        raise ConnectionResetError("the connection ended")

    async def disconnect(self, *, nowait: bool = False) -> None:
        self._ended.set()


async def test_server_is_closed_with_requests_under_way_and_they_end_as_uncertain() -> None:
    server = Server("there:6379", Silent, timeout_ms=60_000)  # type: ignore[arg-type]
    asked = [asyncio.create_task(server.ask(command("PING"))) for _ in range(8)]
    while len(server._busy) < len(asked):
        await asyncio.sleep(0)
    await server.close()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(each) for each in found} == {Uncertain}


class Echo(Silent):
    """One on which everything is answered at once."""

    async def read_response(self) -> Any:
        return b"PONG"

    async def can_read(self) -> bool:
        return False


async def test_server_that_is_retired_still_answers_and_keeps_no_connection() -> None:
    server = Server("there:6379", Echo, timeout_ms=60_000)  # type: ignore[arg-type]
    await server.tell("PING")
    [kept] = server._idle
    await server.retire()
    assert kept._ended.is_set()  # type: ignore[attr-defined]
    assert await server.tell("PING") == b"PONG"
    assert not server._idle
