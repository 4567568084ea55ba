"""A connection that is made when it is needed, and made again when it was lost."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiormq.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.connection import Connection, FrameReceiver, TransportFactory
from aiormq.exceptions import ConnectionClosed, ProbableAuthenticationError
from pamqp import commands
from pamqp.base import Frame
from pamqp.frame import marshal
from yarl import URL

from evermq.adapters.rabbitmq.errors import failure, refused
from evermq.errors import Closed, Denied, EvermqError, Unavailable

__all__ = ["Link", "Login", "Opened", "leave"]

T = TypeVar("T")
Opened = TypeVar("Opened", bound=Channel)

_CLOSE_S = 1.0
_LEAVE_S = 2.0
_REFUSED = 403  # reply code ACCESS-REFUSED
# Every error reaches the caller as one of evermq's; what the driver logs besides goes where the program wants it.
logging.getLogger("aiormq").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Login:
    """How to get in. hosts: tried in turn. tls: None for a plain connection."""

    hosts: Sequence[tuple[str, int]]
    vhost: str
    username: str
    password: str
    tls: ssl.SSLContext | None
    heartbeat_s: int
    timeout_ms: int

    def __repr__(self) -> str:
        return f"Login({self.hosts}, {self.vhost})"


class _Transport(TransportFactory):
    """Opens the socket, and knows how to cut it."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection(url.host, url.port, ssl=self._tls, limit=1 << 20)
        return reader, self._writer

    def cut(self) -> None:
        if self._writer:
            self._writer.transport.abort()


class _Connection(Connection):
    """Says why the server closes a connection that is being opened; the driver only says that it did."""

    @staticmethod
    async def _rpc(
        request: Frame, writer: asyncio.StreamWriter, frame_receiver: FrameReceiver, wait_response: bool = True
    ) -> Any:
        writer.write(marshal(request, 0))
        await writer.drain()
        if not wait_response:
            return None
        _, _, frame = await frame_receiver.get_frame()
        if isinstance(frame, commands.Connection.Close):
            if frame.reply_code == _REFUSED:
                raise ProbableAuthenticationError(frame.reply_text)
            raise ConnectionClosed(frame.reply_code, frame.reply_text)
        return frame  # the caller looks at its kind


class Link:
    """One connection to whichever of the hosts answers.

    Nothing is repeated here: what was asked when the connection was lost is `Uncertain`, and the next request connects
    again.
    """

    def __init__(self, login: Login, name: str) -> None:
        self._login = login
        self._name = name
        self._connection: Connection | None = None
        self._transport: _Transport | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._first = 0
        self._closed = False
        self.where = "{}:{}".format(*login.hosts[0])

    async def channel(self, kind: type[Opened], **given: Any) -> Opened:
        """A new channel of this kind. Raises Unavailable, Denied."""
        connection = await self.connection()
        number = next(n for n in range(1, 65_536) if n not in connection.channels)
        channel = kind(connection, number, frame_buffer=1_000, **given)
        connection.channels[number] = channel
        try:
            async with asyncio.timeout(self._login.timeout_ms / 1000):
                await channel.open()
        except Exception as error:
            self.drop(connection)
            _check_cancelled(error)
            raise refused(error, self.where) from error
        return channel

    async def ask(self, asking: Awaitable[T], doing: str, *, patient: bool = False) -> T:
        """The answer to a request, in time. Raises what `failure` makes of its error.

        A late answer drops the link, unless `patient`: a queue that has no leader does not answer, but others do."""
        connection = self._connection
        try:
            async with asyncio.timeout(self._login.timeout_ms / 1000):
                return await asking
        except TimeoutError as error:
            if not patient:
                self.drop(connection)
            raise failure(error, self.where, doing) from error
        except Exception as error:
            _check_cancelled(error)
            raise failure(error, self.where, doing) from error
        except asyncio.CancelledError as error:
            _check_cancelled(error)
            raise failure(ConnectionError("the connection was closed"), self.where, doing) from error

    async def connection(self) -> Connection:
        """The connection; one attempt at a time is made for all who ask."""
        if self._closed:
            raise Closed(f"the connection to rabbitmq {self.where} was closed: open the place again")
        if self._connection and self._connection.is_opened:
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _connected(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not task.cancelled() and not task.exception():
            self._connection = task.result()

    async def _connect(self) -> Connection:
        hosts = self._login.hosts
        errors: list[EvermqError] = []
        for turn in range(len(hosts)):
            at = (self._first + turn) % len(hosts)
            try:
                connection = await self._dial(*hosts[at])
                self._first = at
                return connection
            except EvermqError as error:
                if isinstance(error, Denied) or len(hosts) == 1:
                    raise
                errors.append(error)
        raise Unavailable("; ".join(map(str, errors)))

    async def _dial(self, host: str, port: int) -> Connection:
        login = self._login
        where = f"{host}:{port}"
        url = URL.build(
            scheme="amqp", host=host, port=port, user=login.username, password=login.password, path="/"
        ).with_query(heartbeat=login.heartbeat_s, name=self._name)
        transport = _Transport(login.tls)
        connection = _Connection(url, transport_factory=transport)
        connection.vhost = login.vhost
        try:
            async with asyncio.timeout(login.timeout_ms / 1000):
                await connection.connect()
        except BaseException as error:
            transport.cut()
            if not isinstance(error, Exception):
                raise
            raise refused(error, where) from error
        self._transport, self.where = transport, where
        return connection

    def drop(self, connection: AbstractConnection | None = None) -> None:
        """Cut it, because it does not answer. connection: only if it is still this one."""
        if self._connection is None or (connection is not None and connection is not self._connection):
            return
        lost, self._connection = self._connection, None
        if self._transport:
            self._transport.cut()
        ending = asyncio.create_task(_end(lost))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def close(self) -> None:
        self._closed = True
        if self._connecting:
            await asyncio.wait([self._connecting])
        if self._connection and self._connection.is_opened:
            await _end(self._connection)
        self.drop()
        if self._endings:
            await asyncio.wait(self._endings)


def leave(link: Link, channel: Channel) -> asyncio.Task[None]:
    """Close a channel, so that what it holds goes back; in a task of its own, for `asyncio.wait`, which goes on where
    whoever waits is cancelled. The driver would leave the channel open then, or close it twice, for which the server
    ends the connection."""
    return asyncio.create_task(_leave(link, channel))


async def _leave(link: Link, channel: Channel) -> None:
    try:
        async with asyncio.timeout(_LEAVE_S):
            await channel.close()
    except (TimeoutError, EvermqError):
        link.drop(channel.connection)  # it would keep what it holds


def _check_cancelled(error: BaseException) -> None:
    """The driver makes an error of its own of a cancellation where a channel ends in the same moment: a task that was
    cancelled would go on for ever. It also makes a cancellation of the end of a connection, where nobody cancelled."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError from error


async def _end(connection: Connection) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.close()
    except Exception:
        pass  # it is over either way
