"""Connections to one Redis server, each of which carries one request at a time.

Of the driver this uses the connection and its parser. Its client would send again by itself what may have been carried
out already, and would not say whether a request ever left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError, ResponseError

from evermq.adapters.redis.failure import failure, refused
from evermq.adapters.redis.script import Argument, command
from evermq.errors import Closed, Unavailable, Uncertain

__all__ = ["Server"]

_CONNECTIONS_MAX = 32


class Server:
    """where: host:port, for messages. timeout_ms: longest wait for an answer, after it a request is Uncertain.

    greeting: commands that a new connection sends first.
    """

    def __init__(
        self, where: str, make: Callable[[], Connection], *, timeout_ms: int, greeting: Sequence[list[bytes]] = ()
    ) -> None:
        self.where = where
        self._greeting = greeting
        self._make = make
        self._timeout_s = timeout_ms / 1000
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._limit = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._retired = self._closed = self._deposed = False

    async def ask(self, request: list[bytes], replies: int = 1, *, more_ms: int = 0) -> list[Any]:
        """Send, and return so many replies, errors of the server among them as what they are.

        more_ms: how much longer than usual the server may take. Raises Unavailable or Denied if nothing was sent,
        Uncertain if it is not known what became of it.
        """
        async with self._limit:
            self._check()
            connection = await self._connect()
            self._busy.add(connection)
            done = False
            try:
                self._check()  # it may have ended while the connection was made
                async with asyncio.timeout(self._timeout_s + more_ms / 1000):
                    await connection.send_packed_command(request, check_health=False)
                    found = [await _reply(connection) for _ in range(replies)]
                done = True
            except TimeoutError:
                raise await self._lost(f"no answer within {self._timeout_s:g} s") from None
            except (RedisError, OSError) as error:
                raise await self._lost(str(error) or type(error).__name__) from error
            finally:
                self._busy.discard(connection)
                if done and not self._retired and connection.is_connected:
                    self._idle.append(connection)
                else:
                    await _cut(connection)
            return found

    async def tell(self, *values: Argument) -> Any:
        """One command and its reply; an error of the server is raised as what it means."""
        [reply] = await self.ask(command(*values))
        if isinstance(reply, Exception):
            raise failure(reply, self.where)
        return reply

    async def retire(self) -> None:
        """Keep no connection beyond its request: who still asks is answered, and hardly anybody will."""
        self._retired = True
        while self._idle:
            await _cut(self._idle.pop())

    async def close(self) -> None:
        """Drop every connection; requests under way end as Uncertain, those that wait for a connection as Closed."""
        self._retired = self._closed = True
        while self._idle:
            await self._idle.pop().disconnect()
        for connection in list(self._busy):  # each leaves it as its request ends
            await _cut(connection)

    async def depose(self) -> None:
        """Another master took its place: as `close`, and who waits for a connection finds the new one by trying again.
        What this one still answered would be lost, since it becomes a replica of the other."""
        self._deposed = True
        await self.retire()
        await self.close()

    def _check(self) -> None:
        if self._deposed:
            raise Unavailable(f"redis {self.where} is the master no more, and nothing was sent to it")
        if self._closed:
            raise Closed(f"the connection to redis {self.where} was closed: open it again")

    async def _lost(self, text: str) -> Uncertain:
        while self._idle:  # they lead to a server that is in trouble: let the next request find out anew
            await _cut(self._idle.pop())
        return Uncertain(f"redis {self.where}: it is not known whether the request was carried out: {text}")

    async def _connect(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_connected and not await _has_ended(connection):
                return connection
            await _cut(connection)
        connection = self._make()
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
                await self._greet(connection)
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect()
            await asyncio.sleep(0)  # asyncio closes the socket of a failed handshake a turn of the loop later
            if isinstance(error, TimeoutError):
                raise Unavailable(f"redis {self.where} did not answer within {self._timeout_s:g} s") from error
            raise refused(error, self.where) from error
        except BaseException:
            await _cut(connection)
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        """What every new connection says first; a refusal of it is met again where it matters."""
        if self._greeting:
            await connection.send_packed_command([part for each in self._greeting for part in each], check_health=False)
            for _ in self._greeting:
                await _reply(connection)


async def _cut(connection: Connection) -> None:
    """Close it without the goodbye of TLS, which a server in trouble never answers: the socket would stay open."""
    writer = connection._writer
    if writer:
        writer.transport.abort()
    await connection.disconnect(nowait=True)
    await asyncio.sleep(0)  # asyncio closes the socket a turn of the loop later


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except (ResponseError, RedisError) as error:
        if isinstance(error, ResponseError) or error.status_code:
            return error  # the server said so
        raise


async def _has_ended(connection: Connection) -> bool:
    """Whether the other end is gone, or has left something behind; then nobody knows what the next reply is to."""
    try:
        return bool(await connection.can_read())
    except (RedisError, OSError):
        return True
    except BaseException:
        await _cut(connection)  # who asked has given up, and nobody else knows of it
        raise
