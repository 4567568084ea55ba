"""A TCP proxy that stands in front of a server and misbehaves as it is told; needs no rights.

Requests and answers are told apart by direction alone: what a client sends until the server speaks is a request, and
what the server says next is its answer. The names of the faults follow Toxiproxy where it has one.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from evermq.drills.engines.engine import Door

__all__ = ["Fault", "Proxy"]

_CHUNK = 1 << 18
_AHEAD_S = 1.0  # how much a slow link may take in before it lets its sender wait
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong; the default is nothing.

    cut: connections are reset, new ones are refused. half_open: the server's end is gone and the client is not told;
    new connections are accepted and stay silent. reset: share of the requests that are reset when half of them has
    passed. swallow: share of the requests that pass and whose answer does not; the connection is closed then, or with
    hang stays open and silent. bytes_min: smaller requests (heartbeats) are spared both. delay_ms: every chunk in
    either direction comes so much later. bytes_per_s: of each connection and direction, 0 for no limit.
    """

    cut: bool = False
    half_open: bool = False
    reset: float = 0.0
    swallow: float = 0.0
    hang: bool = False
    bytes_min: int = 1
    delay_ms: int = 0
    bytes_per_s: int = 0


class Proxy:
    """Stands at a door. seed: of the chances. `happened` counts connections, resets and swallowed answers."""

    def __init__(self, door: Door, *, seed: int = 1) -> None:
        self.door = door
        self.fault = Fault()
        self.happened: Counter[str] = Counter()
        self.chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.set(Fault(cut=True))

    async def set(self, fault: Fault) -> None:
        """From now on, this is wrong, for connections that exist too."""
        before, self.fault = self.fault, fault
        if fault.cut and self._server:
            self._server.close()
            self._server = None
        if fault.cut or before.half_open:
            await self._drop_all()
        if fault.half_open:
            for link in self._links:
                link.lose_server()
        if not fault.cut and not self._server:
            await self._listen()

    async def heal(self) -> None:
        """Nothing is wrong any more; connections that hang are reset."""
        await self.set(Fault())
        for link in [link for link in self._links if link.silent]:
            link.drop()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.door.at, self.door.front, limit=_CHUNK)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.happened["connections"] += 1
        link = _Link(self, reader, writer)
        task = asyncio.current_task()
        assert task
        self._links[link] = task
        try:
            await link.run()
            await link.close()
        except OSError:
            pass  # either end went away: so does the other one
        finally:
            link.drop()
            self._links.pop(link, None)

    async def _drop_all(self) -> None:
        tasks = list(self._links.values())
        for link in list(self._links):
            link.drop()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Link:
    """One client's connection and the one to the server behind it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._writers = [writer]
        self._asked = 0  # bytes of the request that has no answer yet
        self.silent = False
        self._dropped = asyncio.Event()

    async def run(self) -> None:
        if self._proxy.fault.half_open:
            return await self._be_silent()
        reader, writer = await asyncio.open_connection(self._proxy.door.host, self._proxy.door.back, limit=_CHUNK)
        self._writers.append(writer)
        there = asyncio.create_task(self._carry_requests(_Paced(writer, self._proxy)))
        back = asyncio.create_task(self._carry_answers(reader, _Paced(self._client[1], self._proxy)))
        try:
            await asyncio.gather(there, back)
        finally:
            there.cancel()
            back.cancel()
        return None

    async def _be_silent(self) -> None:
        """Take what comes and say nothing until the client goes, or the proxy is healed."""
        self.silent = True
        while await self._client[0].read(_CHUNK):
            pass

    async def _carry_requests(self, server: _Paced) -> None:
        while data := await self._client[0].read(_CHUNK):
            passed = self._request(data)
            if passed:
                await server.write(passed)
            if len(passed) < len(data) and not self.silent:
                raise ConnectionResetError
        if self.silent:
            raise ConnectionResetError
        await server.end()

    async def _carry_answers(self, reader: asyncio.StreamReader, client: _Paced) -> None:
        while data := await reader.read(_CHUNK):
            passed = self._answer(data)
            if passed:
                await client.write(passed)
            elif not self.silent:
                raise ConnectionResetError
        if self.silent:
            await self._dropped.wait()  # the client is not told; its own end, or healing, ends this
            raise ConnectionResetError
        await client.end()

    def _request(self, data: bytes) -> bytes:
        self._asked += len(data)
        if self.silent:
            return b""
        fault = self._proxy.fault
        if self._asked >= fault.bytes_min and self._proxy.chance.random() < fault.reset:
            self._proxy.happened["resets"] += 1
            return data[: len(data) // 2]
        return data

    def _answer(self, data: bytes) -> bytes:
        asked, self._asked = self._asked, 0
        fault = self._proxy.fault
        if self.silent:
            return b""
        if asked >= fault.bytes_min and self._proxy.chance.random() < fault.swallow:
            self._proxy.happened["swallowed"] += 1
            self.silent = fault.hang
            return b""
        return data

    def lose_server(self) -> None:
        """The server sees the connection end; the client does not."""
        self.silent = True
        for writer in self._writers[1:]:
            _reset(writer)

    async def close(self) -> None:
        """Both ends have said all: let it arrive."""
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            await writer.wait_closed()

    def drop(self) -> None:
        """Reset both ends."""
        self._dropped.set()
        for writer in self._writers:
            _reset(writer)


class _Paced:
    """Writes later and no faster than the fault of the moment allows."""

    def __init__(self, writer: asyncio.StreamWriter, proxy: Proxy) -> None:
        self._writer = writer
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._free = 0.0  # when the last byte so far has passed the narrow part
        self._due = 0.0  # when it comes out

    async def write(self, data: bytes) -> None:
        fault, now = self._proxy.fault, self._loop.time()
        self._free = max(now, self._free) + (len(data) / fault.bytes_per_s if fault.bytes_per_s else 0)
        due = max(self._free + fault.delay_ms / 1000, self._due)
        if due <= now:
            self._write_now(data)
            await self._writer.drain()
        else:
            self._due = due + 1e-6  # timers of the same moment need not keep their order
            self._loop.call_at(self._due, self._write_now, data)
            await asyncio.sleep(due - now - _AHEAD_S)

    def _write_now(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def end(self) -> None:
        """No more data comes from the other side; what is under way goes first."""
        await asyncio.sleep(self._due - self._loop.time() + 1e-3)
        if not self._writer.is_closing():
            self._writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    endpoint = writer.get_extra_info("socket")
    if endpoint is not None and endpoint.fileno() >= 0:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
