"""The client's end of the socket: requests in flight, and a watch over an owner that falls silent."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from evermq.adapters.remote.path import socket_address
from evermq.adapters.remote.wire import GOODBYE, VERSION, Malformed, decode, decode_error, frame, read_frame
from evermq.clock import SYSTEM, Clock
from evermq.errors import Unavailable

__all__ = ["Connection", "ConnectionLost", "forget"]

_PING_MS = 1_000


class ConnectionLost(Unavailable):
    """The owner went, or is there and fell `silent`. `sent`: whether the request may have reached it."""

    def __init__(self, text: str, *, sent: bool = True, silent: bool = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.silent = silent


class Connection:
    """Made by `Connection.open`. silence_ms: how long the owner may say nothing while something is asked."""

    def __init__(
        self, path: Path, stream: asyncio.StreamReader, writer: asyncio.StreamWriter, silence_ms: int, clock: Clock
    ) -> None:
        self._path = path
        self._stream = stream
        self._writer = writer
        self._silence_ms = silence_ms
        self._clock = clock
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._heard_ms = clock.monotonic_ms()
        self._lost: str = ""
        self.pid = 0
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._watch())]

    @classmethod
    async def open(cls, path: Path, *, silence_ms: int = 5_000, pid: int = 0, clock: Clock = SYSTEM) -> Connection:
        """Connect and greet. Raises ConnectionLost; `pid` is named where nobody answers."""
        try:
            with socket_address(path) as address:
                stream, writer = await asyncio.open_unix_connection(address, limit=1 << 20)
        except OSError as error:
            raise ConnectionLost(f"nobody serves {path}: {error.strerror or error}", sent=False) from error
        connection = cls(path, stream, writer, silence_ms, clock)
        connection.pid = pid
        try:
            async with asyncio.timeout(silence_ms / 1000):
                _, connection.pid = await connection.ask("hello", VERSION)
        except TimeoutError:
            await connection.close()
            raise ConnectionLost(connection._silence(), sent=False, silent=True) from None
        except BaseException:
            await connection.close()
            raise
        return connection

    @property
    def is_lost(self) -> bool:
        return bool(self._lost)

    def send(self, verb: str, *arguments: Any) -> asyncio.Future[Any]:
        """Ask; the future gets the answer or the error. Raises Rejected, ConnectionLost(sent=False) where it cannot."""
        if self._lost:
            raise ConnectionLost(self._lost, sent=False)
        self._number += 1
        whole = frame([self._number, verb, arguments])
        if not self._waiting:
            self._heard_ms = self._clock.monotonic_ms()
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._writer.write(whole)
        return answer

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """Ask and wait for the answer; what goes out waits while the owner takes nothing."""
        answer = self.send(verb, *arguments)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
        return await answer

    async def close(self) -> None:
        self._lose("the connection was closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            # Cancelled in here, the future that all who close the stream wait for would be cancelled for good.
            await asyncio.shield(self._writer.wait_closed())

    async def _receive(self) -> None:
        try:
            while True:
                number, error, result = decode(await read_frame(self._stream))
                if number == GOODBYE:
                    self._lose(f"the owner of {self._path} (process {self.pid}) ended", taken=result)
                    return
                self._heard_ms = self._clock.monotonic_ms()
                answer = self._waiting.pop(number, None)
                if answer and not answer.done():
                    if error:
                        answer.set_exception(decode_error(error))
                    else:
                        answer.set_result(result)
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            self._lose(f"the owner of {self._path} (process {self.pid}) went")
        except (Malformed, ValueError, TypeError) as error:
            self._lose(f"the owner of {self._path} does not speak this protocol: {error}")

    async def _watch(self) -> None:
        """Ping, so that a living owner is never silent, and it knows that we live."""
        ping_ms = min(_PING_MS, self._silence_ms / 3)
        while not self._lost:
            await self._clock.sleep(ping_ms)
            if self._waiting and self._clock.monotonic_ms() - self._heard_ms > self._silence_ms:
                self._lose(self._silence(), silent=True)
                return
            with contextlib.suppress(ConnectionLost):
                self.send("ping").add_done_callback(forget)

    def _silence(self) -> str:
        return (
            f"the owner of {self._path}, process {self.pid}, has said nothing for {self._silence_ms} ms: "
            f"let it go on (kill -CONT {self.pid}) or end it (kill -9 {self.pid}), then another process takes over"
        )

    def _lose(self, why: str, *, silent: bool = False, taken: int | None = None) -> None:
        """taken: the last request that the owner says it looked at; where it says nothing, that may be any."""
        if self._lost:
            return
        self._lost = why
        self._writer.transport.abort()  # `close` would wait for the owner to take what is still to be sent
        waiting, self._waiting = self._waiting, {}
        for number, answer in waiting.items():
            if not answer.done():
                answer.set_exception(ConnectionLost(why, sent=taken is None or number <= taken, silent=silent))
                answer.exception()  # seen, whoever still waits


def forget(answer: asyncio.Future[Any]) -> None:
    """Nobody waits for this answer any more."""
    if not answer.cancelled():
        answer.exception()
