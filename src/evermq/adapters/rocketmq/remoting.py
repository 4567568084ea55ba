"""The protocol of RocketMQ's brokers and name servers, of which the control plane needs a little.

A frame is its length, the length of its header, the header as JSON, and a body (RemotingCommand in RocketMQ's source).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from evermq.adapters.certificate import distrust
from evermq.adapters.rocketmq.errors import certain, of_broker
from evermq.adapters.rocketmq.login import Login
from evermq.errors import Denied, EvermqError, Unavailable, Uncertain

__all__ = ["Answer", "Distrusted", "Remoting"]

_SIZES = struct.Struct(">II")
_FRAME_MAX = 64 << 20


class Distrusted(Denied):
    """The server's certificate is not accepted."""


class Answer(NamedTuple):
    """fields: what the header had."""

    fields: Mapping[str, str]
    body: bytes


class Remoting:
    """One server, over a connection that is opened when it is needed; many requests may be under way.

    tls: None for a plain connection."""

    def __init__(self, host: str, port: int, login: Login, timeout_ms: int, tls: ssl.SSLContext | None = None) -> None:
        self.where = f"{host}:{port}"
        self._host, self._port = host, port
        self._login, self._tls = login, tls
        self._timeout_s = timeout_ms / 1000
        self._opening = asyncio.Lock()
        self._connection: _Connection | None = None
        self._number = 0

    async def ask(self, code: int, fields: Mapping[str, Any], doing: str) -> Answer:
        """Raises Unavailable where there is no answer, or none that is listed, else what the table of errors says."""
        try:
            return await self.change(code, fields, doing)
        except Uncertain as error:
            raise certain(error) from None

    async def change(self, code: int, fields: Mapping[str, Any], doing: str, body: bytes = b"") -> Answer:
        """As `ask`; Uncertain where it may have been done."""
        doing = f"rocketmq {self.where}: {doing}"
        silent: type[EvermqError] = Unavailable
        until_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(until_s):
                connection = await self._open()
                silent = Uncertain
                number, request = self._request(code, {name: str(each) for name, each in fields.items()}, body)
                return await connection.ask(number, request, until_s)
        except TimeoutError as error:
            raise silent(f"{doing}: no answer in time") from error
        except OSError as error:
            if reason := distrust(error):
                raise Distrusted(f"{doing}: {reason}") from error
            raise silent(f"{doing}: {error.strerror or error}") from error
        except _Refused as error:
            raise of_broker(error.code, error.said, doing) from None

    async def _open(self) -> _Connection:
        async with self._opening:
            if self._connection is None or self._connection.is_ended:
                self._connection = _Connection(*await asyncio.open_connection(self._host, self._port, ssl=self._tls))
            return self._connection

    def _request(self, code: int, fields: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self._number += 1
        header = {
            "code": code,
            "flag": 0,
            "language": "OTHER",
            "opaque": self._number,
            "version": 0,
            "extFields": self._login.signed(fields, body),
            "serializeTypeCurrentRPC": "JSON",
        }
        encoded = json.dumps(header).encode()
        return self._number, _SIZES.pack(len(encoded) + len(body) + 4, len(encoded)) + encoded + body

    async def close(self) -> None:
        """End the connection."""
        if self._connection:
            await self._connection.close()


class _Connection:
    """An open one. It is ended where nothing comes on it, since its server may be gone without a word: then all that is
    under way on it ends, and the next request opens another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._heard = 0
        self._reading = asyncio.create_task(self._read(reader))

    @property
    def is_ended(self) -> bool:
        return self._writer.is_closing()

    async def ask(self, number: int, request: bytes, until_s: float) -> Answer:
        """Raises OSError where the connection ends, _Refused. until_s: when something should have come, by the loop's
        time, even if nobody waits for so long."""
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[Answer] = loop.create_future()
        self._asked[number] = asked
        watch = loop.call_at(until_s, self._end_if_silent, self._heard)
        try:
            self._writer.write(request)
            return await asked
        finally:
            del self._asked[number]
            if not asked.cancelled():
                watch.cancel()

    def _end_if_silent(self, heard: int) -> None:
        if self._heard == heard:
            self._writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand every answer to whoever asked, until the connection ends."""
        try:
            while True:
                size, header_size = _SIZES.unpack(await reader.readexactly(8))
                if size > _FRAME_MAX:
                    break
                frame = await reader.readexactly(size - 4)
                self._heard += 1
                header_size &= 0xFFFFFF  # the first byte says how the header is written
                self._answer(json.loads(frame[:header_size]), frame[header_size:])
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._writer.close()
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(ConnectionResetError("the connection ended"))

    def _answer(self, header: dict[str, Any], body: bytes) -> None:
        asked = self._asked.get(header.get("opaque", 0))
        if asked is None or asked.done():
            return
        if header.get("code"):
            asked.set_exception(_Refused(int(header["code"]), str(header.get("remark") or "")))
        else:
            asked.set_result(Answer(header.get("extFields") or {}, body))

    async def close(self) -> None:
        """Whatever is under way on it."""
        self._writer.transport.abort()
        await asyncio.wait([self._reading])


class _Refused(Exception):
    """An answer whose code is not success."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(code, said)
        self.code, self.said = code, said
