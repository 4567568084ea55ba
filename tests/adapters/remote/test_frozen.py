"""A client that stands still, with answers on their way to it that nobody takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from evermq.adapters.memory import MemoryPlace
from evermq.adapters.remote.path import socket_address
from evermq.adapters.remote.server import Server
from evermq.adapters.remote.wire import frame
from evermq.message import MessageFactory

LENGTH_BYTES = 4
LARGE = bytes(8 << 20)  # more than the socket takes by itself


@asynccontextmanager
async def half_answered(path: Path, lease_ms: int = 30_000) -> AsyncIterator[tuple[MemoryPlace, Server, socket.socket]]:
    """A server, and a client to which a message is on its way: of the answer it took no more than the length."""
    place = MemoryPlace()
    await (await place.queue("orders")).append([MessageFactory()(LARGE)])
    server = await Server.start(place, path, lease_ms=lease_ms)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        with socket_address(path) as address:
            await loop.sock_connect(client, address)
        await loop.sock_sendall(client, frame([1, "reader", ["orders", "g", "oldest", 0]]))
        length = int.from_bytes(await loop.sock_recv(client, LENGTH_BYTES), "little")
        await loop.sock_recv(client, length)
        await loop.sock_sendall(client, frame([2, "read", [1, 1, 1_000]]))
        assert int.from_bytes(await loop.sock_recv(client, LENGTH_BYTES), "little") > len(LARGE)
        yield place, server, client
        await server.close()


async def test_owner_ends_though_a_client_takes_nothing(tmp_path: Path) -> None:
    async with half_answered(tmp_path / "socket") as (_, server, _), asyncio.timeout(20):
        await server.close()


async def test_client_that_asked_before_it_stood_still_loses_what_it_holds_to_others(tmp_path: Path) -> None:
    async with half_answered(tmp_path / "socket", lease_ms=100) as (place, _, client):
        await asyncio.get_running_loop().sock_sendall(client, frame([3, "ping", []]))
        other = await (await place.queue("orders")).reader("g")
        found = await other.read(count_max=1, wait_ms=20_000)
        assert [len(each.message.body) for each in found] == [len(LARGE)]
