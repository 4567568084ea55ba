"""Connections to one server, over a driver whose server never answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from evermq.adapters.redis.script import command
from evermq.adapters.redis.server import Server
from evermq.errors import Closed, EvermqError, Unavailable, Uncertain


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


@pytest.mark.parametrize(("end", "error"), [(Server.close, Closed), (Server.depose, Unavailable)])
async def test_requests_that_waited_for_a_connection_were_never_sent(
    end: Callable[[Server], Awaitable[None]], error: type[EvermqError]
) -> None:
    server = Server("there:6379", Silent, timeout_ms=60_000)  # type: ignore[arg-type]
    asked = [asyncio.create_task(server.ask(command("PING"))) for _ in range(40)]
    while len(server._busy) < 32:
        await asyncio.sleep(0)
    await end(server)
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert Counter(type(each) for each in found) == {Uncertain: 32, error: 8}


class Slow(Silent):
    """One that takes its time to be made."""

    def __init__(self, may: asyncio.Event) -> None:
        super().__init__()
        self._may = may

    async def connect(self) -> None:
        await self._may.wait()


async def test_connection_that_is_made_while_its_server_is_closed_carries_nothing() -> None:
    may = asyncio.Event()
    server = Server("there:6379", lambda: Slow(may), timeout_ms=60_000)  # type: ignore[arg-type,return-value]
    asked = asyncio.create_task(server.ask(command("PING")))
    await asyncio.sleep(0)
    await server.close()
    may.set()
    with pytest.raises(Closed):
        await asked


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


class Unsure(Echo):
    """One that does not say whether it has ended."""

    async def can_read(self) -> bool:
        await asyncio.Event().wait()
        return False


async def test_connection_of_a_request_that_is_given_up_before_it_is_sent_is_cut() -> None:
    server = Server("there:6379", Unsure, timeout_ms=60_000)  # type: ignore[arg-type]
    await server.tell("PING")
    [kept] = server._idle
    asked = asyncio.create_task(server.tell("PING"))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert kept._ended.is_set()  # type: ignore[attr-defined]


async def test_server_whose_closing_was_cut_is_closed_by_the_next_one() -> None:
    server = Server("there:6379", Echo, timeout_ms=60_000)  # type: ignore[arg-type]
    kept: Any = [Echo() for _ in range(4)]
    server._idle.extend(kept)
    retiring = asyncio.create_task(server.retire())
    await asyncio.sleep(0)
    retiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await retiring
    await server.close()
    assert [each._ended.is_set() for each in kept] == [True] * 4
