"""Serves a place on a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from evermq.adapters.remote import wire
from evermq.adapters.remote.agreed import HasDamages, HasSettings, Resets
from evermq.adapters.remote.fitting import fit
from evermq.adapters.remote.path import BoundSocket, socket_address
from evermq.adapters.remote.wire import (
    GOODBYE,
    VERSION,
    Malformed,
    decode,
    encode_error,
    frame,
    pack_deliveries,
    pack_positions,
    read_frame,
    unpack_messages,
)
from evermq.errors import Closed, EvermqError, Misconfigured, Overloaded, TooLarge, Unsupported
from evermq.port import Delivery, Place, Queue, Reader, Start

__all__ = ["Server"]

_TOO_LARGE_MS = 30_000
_REQUESTS_MAX = 1_000  # of one connection at a time: beyond it nothing more is read from the socket
_BYTES_MAX = 128 << 20  # of them: beyond it appends are refused, since reading has to go on for pings
_CHUNK_BYTES = 1 << 16
_END_MS_MAX = 1_000  # how long an ending connection waits for what it was asked, and for its client to take the answers


class Server:
    """`await Server.start(place, path)`. The place stays the caller's to close.

    lease_ms: a client that is silent for so long is taken for dead; what its readers hold is handed to others.
    """

    def __init__(self, place: Place, lease_ms: int) -> None:
        self._place = place
        self._lease_ms = lease_ms
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._socket: BoundSocket | None = None
        self._closed = False

    @classmethod
    async def start(cls, place: Place, path: Path, *, lease_ms: int = 30_000) -> Server:
        """Listen on `path`; a socket that a dead owner left there is replaced."""
        server = cls(place, lease_ms)
        path.unlink(missing_ok=True)
        with socket_address(path) as address:
            await server._listen(address)
        os.chmod(path, 0o600)
        server._socket = BoundSocket(path)
        return server

    async def _listen(self, address: str) -> None:
        connected = self._connected
        self._server = await asyncio.start_unix_server(connected, address, limit=1 << 20, start_serving=False)
        try:
            await self._server.start_serving()
        except BaseException:  # given up meanwhile: who has come already must not wait for a place that is closed
            self._closed = True
            self._server.close()
            raise

    async def close(self) -> None:
        """Stop listening, take no further requests, do and answer those that were taken but for reads that wait, end
        all connections, give back what their readers hold. In a forked child all of that is its parent's."""
        if self._socket and not self._socket.is_mine:
            return
        self._closed = True
        if self._server:
            self._server.close()
            self._server = None
            if self._socket:
                self._socket.remove()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:  # between its coming and now
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        connection = _Connection(self._place, reader, writer)
        try:
            await connection.serve(self._lease_ms)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, Malformed, asyncio.CancelledError):
            pass  # it went, fell silent, or does not speak this protocol: its readers are closed either way
        finally:
            self._connections.discard(task)
            await connection.close()


class _Connection:
    def __init__(self, place: Place, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._place = place
        self._stream = stream
        self._writer = writer
        self._queues: dict[str, Queue] = {}
        self._readers: dict[int, tuple[Reader, dict[int, Delivery]]] = {}
        self._owed: dict[int, TooLarge] = {}  # what the next read of a reader raises
        self._numbers = count(1)
        self._tasks: dict[asyncio.Task[None], tuple[str, int]] = {}  # their verbs, and how long their requests are
        self._bytes = 0  # of these
        self._taken = 0  # the number of the last request that was
        self._room = asyncio.Semaphore(_REQUESTS_MAX)

    async def serve(self, lease_ms: int) -> None:
        while True:
            async with asyncio.timeout(lease_ms / 1000):
                body = await read_frame(self._stream)
            request = decode(body)
            if not isinstance(request, list) or len(request) != 3:
                raise Malformed("a request is [number, verb, arguments]")
            number, verb, arguments = request
            refusal = self._refusal(verb, len(body))
            if verb == "ping" or refusal:
                async with asyncio.timeout(lease_ms / 1000):  # to take nothing is to be silent
                    await self._answer(frame([number, refusal and encode_error(refusal), None]))
                continue
            await self._room.acquire()
            task = asyncio.create_task(self._handle(number, verb, arguments))
            self._tasks[task] = verb, len(body)
            self._bytes += len(body)
            self._taken = number
            task.add_done_callback(self._done)

    def _refusal(self, verb: str, size: int) -> Overloaded | None:
        """Why it is not done: more than one at a time wait for what takes long, as a disk that hangs."""
        if verb != "append" or not self._bytes or self._bytes + size <= _BYTES_MAX:
            return None
        return Overloaded(
            f"{self._bytes} bytes of this process wait for the owner already: send again when they are stored"
        )

    def _done(self, task: asyncio.Task[None]) -> None:
        _, size = self._tasks.pop(task)
        self._bytes -= size
        self._room.release()

    async def close(self) -> None:
        until = asyncio.get_running_loop().time() + _END_MS_MAX / 1000
        await self._finish(until)
        for reader, _ in self._readers.values():
            with contextlib.suppress(EvermqError):
                await reader.close()
        self._writer.write(frame([GOODBYE, None, self._taken]))
        try:
            with contextlib.suppress(OSError):  # TimeoutError is one
                self._writer.write_eof()
                async with asyncio.timeout_at(until):
                    # Closed before the client has read that, a socket to which it writes would take it away unread.
                    while await self._stream.read(_CHUNK_BYTES):
                        pass
        finally:
            self._writer.transport.abort()

    async def _finish(self, until: float) -> None:
        """Let handlers do and answer what they were asked; whoever reads asks the next owner."""
        for task, (verb, _) in self._tasks.items():
            if verb == "read":
                task.cancel()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    while self._tasks:
                        await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _handle(self, number: int, verb: str, arguments: list[Any]) -> None:
        verbs: dict[str, Callable[..., Awaitable[Any]]] = _VERBS
        try:
            if verb not in verbs:
                raise Misconfigured(f"this owner does not know {verb!r}: use the same version of evermq on both sides")
            result = await verbs[verb](self, *arguments)
            try:
                whole = frame([number, None, result])
            except TooLarge:
                if verb != "read":
                    raise
                whole = frame([number, None, await self._what_fits(arguments[0], result[2])])
        except Exception as error:
            whole = frame([number, encode_error(error), None])
        await self._answer(whole)

    async def _answer(self, whole: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(whole)
            await self._writer.drain()

    async def _queue(self, topic: str) -> Queue:
        if topic not in self._queues:
            self._queues[topic] = await self._place.queue(topic)
        return self._queues[topic]

    def _held(self, reader: int) -> tuple[Reader, dict[int, Delivery]]:
        if reader not in self._readers:
            raise Closed("this reader is not open: open another one")
        return self._readers[reader]

    async def hello(self, version: int) -> list[int]:
        if version != VERSION:
            raise Misconfigured(f"the owner speaks version {VERSION}, not {version}: use the same evermq on both sides")
        return [VERSION, os.getpid()]

    async def open(self, topic: str) -> dict[str, Any]:
        self._queues.pop(topic, None)  # of one that was dropped by another connection, and made anew
        return asdict((await self._queue(topic)).traits)

    async def append(self, topic: str, columns: list[Any]) -> list[Any]:
        return pack_positions(await (await self._queue(topic)).append(unpack_messages(columns)))

    async def backlog(self, topic: str, group: str, lane: str | None) -> int:
        return await (await self._queue(topic)).backlog(group, lane)

    async def reader(self, topic: str, group: str, at: str, value: int) -> int:
        opened = await (await self._queue(topic)).reader(group, start=Start(at, value))
        number = next(self._numbers)
        self._readers[number] = (opened, {})
        return number

    async def read(self, reader: int, count_max: int, wait_ms: int) -> list[Any]:
        opened, held = self._held(reader)
        if owed := self._owed.pop(reader, None):
            raise owed
        deliveries = await opened.read(count_max=count_max, wait_ms=wait_ms)
        tokens = [next(self._numbers) for _ in deliveries]
        held.update(zip(tokens, deliveries, strict=True))
        return pack_deliveries(deliveries, tokens)

    async def _what_fits(self, reader: int, tokens: list[int]) -> list[Any]:
        """Of what was read, as much as crosses the socket; the rest comes again, what is too large by itself not
        at once, so that others are read. Raises TooLarge where nothing is left, else the next read does."""
        opened, held = self._held(reader)
        parts = fit({token: held.pop(token) for token in tokens}, wire.FRAME_BYTES_MAX)
        if parts.large:
            await opened.release(parts.large, delay_ms=_TOO_LARGE_MS)
            self._owed[reader] = TooLarge(
                f"message {parts.large[0].message.id} is larger than the {wire.FRAME_BYTES_MAX} bytes that cross the "
                f"socket, and comes again after {_TOO_LARGE_MS // 1000} s: read it in the process that owns the log "
                f"({os.getpid()}), or once that has ended in the only one that opens it"
            )
        if parts.later:
            await opened.release(parts.later)
        if not parts.fits:
            raise self._owed.pop(reader)
        held.update(parts.fits)
        return pack_deliveries(list(parts.fits.values()), list(parts.fits))

    async def ack(self, reader: int, tokens: list[int]) -> None:
        opened, held = self._held(reader)
        await opened.ack(_held_by(held, tokens))
        _forget(held, tokens)

    async def release(self, reader: int, tokens: list[int], delay_ms: int) -> None:
        opened, held = self._held(reader)
        await opened.release(_held_by(held, tokens), delay_ms=delay_ms)
        _forget(held, tokens)

    async def close_reader(self, reader: int) -> None:
        opened, _ = self._readers.pop(reader, (None, None))
        if opened:
            await opened.close()

    async def settings(self) -> dict[str, str]:
        return dict(self._place.settings) if isinstance(self._place, HasSettings) else {}

    async def damages(self) -> list[str]:
        return list(map(str, self._place.damages)) if isinstance(self._place, HasDamages) else []

    async def topics(self) -> list[str]:
        return await self._place.topics()

    async def create(self, topic: str, groups: list[str], lanes: int | None) -> list[str]:
        return await self._place.create(topic, groups=groups, lanes=lanes)

    async def drop(self, topic: str) -> None:
        self._queues.pop(topic, None)
        await self._place.drop(topic)

    async def describe(self, topic: str) -> list[Any]:
        state = await self._place.describe(topic)
        return [state.lanes, {name: list(group) for name, group in state.groups.items()}, state.appended]

    async def reset(self, topic: str, group: str, at: str, value: int) -> None:
        if not isinstance(self._place, Resets):
            raise Unsupported("this place cannot move a group")
        await self._place.reset(topic, group, Start(at, value))

    async def topic_settings(self, topic: str) -> dict[str, str]:
        return dict((await self._place.describe(topic)).settings)


def _held_by(held: dict[int, Delivery], tokens: Iterable[int]) -> list[Delivery]:
    return [delivery for token in tokens if (delivery := held.get(token))]


def _forget(held: dict[int, Delivery], tokens: Iterable[int]) -> None:
    for token in tokens:
        held.pop(token, None)


_VERBS: dict[str, Callable[..., Awaitable[Any]]] = {
    method.__name__: method
    for method in (
        _Connection.hello,
        _Connection.open,
        _Connection.append,
        _Connection.backlog,
        _Connection.reader,
        _Connection.read,
        _Connection.ack,
        _Connection.release,
        _Connection.close_reader,
        _Connection.settings,
        _Connection.damages,
        _Connection.topics,
        _Connection.create,
        _Connection.drop,
        _Connection.describe,
        _Connection.topic_settings,
        _Connection.reset,
    )
}
