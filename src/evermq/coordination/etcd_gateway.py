"""etcd's JSON gateway: requests to whichever of its servers answers, with typed errors."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp

from evermq.errors import Closed, Denied, EvermqError, Unavailable, Uncertain

__all__ = ["EtcdGateway", "b64", "unb64"]

_CALL_S_MAX = 2.0
_DENIED = (7, 16)  # PERMISSION_DENIED, UNAUTHENTICATED; https://grpc.io/docs/guides/status-codes/
_NO_USER = "user name is empty"
_FULL = "database space exceeded"
_WAY_OUT = (
    "its quota is full of history; give ?history_s=3600 here or --auto-compaction-retention=1h to etcd, then run "
    "etcdctl compact, etcdctl defrag and etcdctl alarm disarm"
)


def b64(data: bytes) -> str:
    """As the gateway takes bytes."""
    return base64.b64encode(data).decode()


def unb64(text: str | None) -> bytes:
    """As it gives them; it leaves empty ones out."""
    return base64.b64decode(text or "")


class EtcdGateway:
    """See https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/. username: empty where no one has to log in."""

    def __init__(self, hosts: str, *, username: str = "", password: str = "") -> None:
        self.where = f"etcd://{hosts}"
        self._hosts = hosts.split(",")
        self._login = {"name": username, "password": password} if username else None
        self._token = ""
        self._session: aiohttp.ClientSession | None = None
        self.closed = False

    async def call(self, path: str, body: Mapping[str, Any], *, writes: bool = False) -> dict[str, Any]:
        """One request. Raises Unavailable, Denied, Closed, and Uncertain where a write may have been done."""
        for _ in self._hosts:
            try:
                return await self._call(path, body, writes)
            except Closed:
                raise
            except Unavailable:
                self._pass_on()  # the next one may know better
            except Uncertain:
                self._pass_on()  # whoever asks again is not to wait for this one again
                raise
        raise Unavailable(f"{self.where}: no server answers")

    async def changes(self, key: bytes, revision: int) -> AsyncIterator[None]:
        """Tells of each change of a key from a revision on, until the connection breaks."""
        body = {"create_request": {"key": b64(key), "start_revision": str(revision)}}
        try:
            async with self._open().post(self._url("watch"), json=body, headers=self._headers()) as answer:
                async for line in answer.content:
                    if line.strip() and json.loads(line).get("result", {}).get("events"):
                        yield None
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
            return

    async def close(self) -> None:
        """End all connections; again is harmless."""
        self.closed = True
        if self._session:
            await self._session.close()

    def _pass_on(self) -> None:
        self._hosts.append(self._hosts.pop(0))

    async def _call(self, path: str, body: Mapping[str, Any], writes: bool) -> dict[str, Any]:
        if self._login and not self._token:
            self._token = (await self._post("auth/authenticate", self._login, False))["token"]
        try:
            return await self._post(path, body, writes)
        except Denied:
            if not self._token:
                raise
            self._token = ""  # it may have run out
            self._token = (await self._post("auth/authenticate", self._login or {}, False))["token"]
            return await self._post(path, body, writes)

    async def _post(self, path: str, body: Mapping[str, Any], writes: bool) -> dict[str, Any]:
        session = self._open()
        kind = Uncertain if writes else Unavailable
        try:
            async with (
                asyncio.timeout(_CALL_S_MAX),
                session.post(self._url(path), json=body, headers=self._headers()) as answer,
            ):
                content: dict[str, Any] = await answer.json(content_type=None)
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(f"{self.where}: {error}") from None
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            raise kind(f"{self.where}: no answer to {path}: {error!r}") from None
        if "error" in content:
            raise self._error(path, content, kind)
        return content

    def _error(self, path: str, content: Mapping[str, Any], kind: type[EvermqError]) -> EvermqError:
        said = str(content.get("message") or content["error"])
        if _FULL in said:
            said += f": {_WAY_OUT}"
        if content.get("code") in _DENIED or _NO_USER in said or "authentication failed" in said:
            return Denied(f"{self.where}: this user has no right to {path}: {said}: ask for it, or log in")
        return kind(f"{self.where}: {path}: {said}")

    def _open(self) -> aiohttp.ClientSession:
        if self.closed:
            raise Closed(f"{self.where} was closed: open it again")
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=_CALL_S_MAX))
        return self._session

    def _url(self, path: str) -> str:
        return f"http://{self._hosts[0]}/v3/{path}"

    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": self._token} if self._token else {}

    async def range(self, key: bytes, *, below: bool = False) -> tuple[Sequence[dict[str, Any]], int]:
        """The entry of a key (of all keys that begin so, if `below`), and the revision at which it was read."""
        body = {"key": b64(key)} | (_below(key) if below else {})
        answer = await self.call("kv/range", body)
        return answer.get("kvs", ()), int(answer["header"]["revision"])

    async def delete_below(self, key: bytes) -> None:
        """Delete all keys that begin so."""
        await self.call("kv/deleterange", {"key": b64(key), **_below(key)}, writes=True)

    async def put_if(
        self, key: bytes, value: bytes, *, version: int, lease: str = "0", writes: bool = True
    ) -> tuple[bool, int]:
        """Write if the key was written so often before; returns whether, and the revision. writes: whether it can."""
        body = {
            "compare": [{"key": b64(key), "target": "VERSION", "result": "EQUAL", "version": str(version)}],
            "success": [{"request_put": {"key": b64(key), "value": b64(value), "lease": lease}}],
        }
        answer = await self.call("kv/txn", body, writes=writes)
        return bool(answer.get("succeeded")), int(answer["header"]["revision"])


def _below(key: bytes) -> dict[str, str]:
    return {"range_end": b64(key[:-1] + bytes([key[-1] + 1]))}
