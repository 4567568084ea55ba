"""etcd as a coordinator: a key for the value, keys with leases for members and holders.

PATH/value holds the value, and its version is the key's; PATH/members/NAME and PATH/leases/NAME go when whoever made
them is silent for longer than their ttl, in whole seconds.

etcd keeps everything that was ever written, until somebody compacts its history; once its quota is full it takes no
writes any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from evermq.coordination.etcd_gateway import EtcdGateway, b64, unb64
from evermq.coordinator import VALUE_BYTES_MAX, Lease, Membership, Versioned
from evermq.errors import EvermqError, Fenced, TooLarge
from evermq.topics import check_entry

__all__ = ["HISTORY_S", "EtcdCoordinator"]

HISTORY_S = 3_600
_LOOK_AGAIN_S = 5.0  # a change that was missed is made good after so long
_PAUSE_S = 0.2
_NO_VERSION = -1


class EtcdCoordinator:
    """See `Coordinator`. hosts: `host:port,host:port`. path: what its keys begin with. history_s: who once held a lease
    compacts etcd's history, but for so long; 0: that is left to the server's own settings."""

    def __init__(
        self, hosts: str, path: str, *, username: str = "", password: str = "", history_s: int = HISTORY_S
    ) -> None:
        self._gateway = EtcdGateway(hosts, username=username, password=password)
        self._path = path.encode()
        self._history_s = history_s
        self._compacting: asyncio.Task[None] | None = None
        self._kept: set[_Kept] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = False

    async def get(self) -> Versioned:
        return (await self._get())[0]

    async def put(self, value: bytes, *, version: int) -> Versioned:
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value of {len(value)} bytes is over {VALUE_BYTES_MAX}")
        await self._prepare()
        done, _ = await self._gateway.put_if(self._path + b"/value", value, version=version)
        if not done:
            raise Fenced(
                f"{self._gateway.where}: the value is not at version {version}: somebody else wrote it, read it"
            )
        return Versioned(value, version + 1)

    async def watch(self) -> AsyncIterator[Versioned]:
        seen: Versioned | None = None
        while not self._gateway.closed:
            pause_s = _PAUSE_S
            with contextlib.suppress(EvermqError):
                found, revision = await self._get()
                if found != seen:
                    seen = found
                    yield found
                await self._wait(self._path + b"/value", revision + 1)
                pause_s = 0.0
            if not self._gateway.closed:
                await asyncio.sleep(pause_s)

    async def lease(self, name: str, *, ttl_ms: int) -> Lease:
        await self._prepare()
        key = self._path + b"/leases/" + check_entry(name).encode()
        while True:
            granted = await self._grant(ttl_ms)
            done, revision = await self._gateway.put_if(key, b"", version=0, lease=granted)
            if done:
                if self._history_s and self._compacting is None:
                    self._compacting = self._start(self._compact())
                return self._keep(_Kept(self, key, None, granted, ttl_ms, revision))
            await self._revoke(granted)
            await self._wait(key, revision + 1)

    async def join(self, name: str, value: bytes, *, ttl_ms: int) -> Membership:
        await self._prepare()
        key = self._path + b"/members/" + check_entry(name).encode()
        member = _Kept(self, key, value, await self._grant(ttl_ms), ttl_ms, 0)
        await member.say()
        return self._keep(member)

    async def members(self) -> dict[str, bytes]:
        await self._prepare()
        below = self._path + b"/members/"
        found, _ = await self._gateway.range(below, below=True)
        return {unb64(each["key"])[len(below) :].decode(): unb64(each.get("value")) for each in found}

    async def drop(self) -> None:
        await self._gateway.delete_below(self._path + b"/")

    async def close(self) -> None:
        for kept in list(self._kept):
            await kept.leave()
        await self._gateway.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget(self, kept: _Kept) -> bool:
        """It is kept no more; returns whether it was."""
        known = kept in self._kept
        self._kept.discard(kept)
        return known

    async def write(self, key: bytes, value: bytes, lease: str) -> None:
        """Of a member: over whatever is there."""
        body = {"key": b64(key), "value": b64(value), "lease": lease}
        await self._gateway.call("kv/put", body, writes=True)

    async def says(self, key: bytes, value: bytes, lease: str) -> bool:
        """Of a member: whether that stands there."""
        found, _ = await self._gateway.range(key)
        return [(unb64(each.get("value")), each.get("lease")) for each in found] == [(value, lease)]

    async def renew(self, lease: str) -> bool:
        """Whether the lease still lives; it does so for another ttl then."""
        answer = await self._gateway.call("lease/keepalive", {"ID": lease})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    async def grant(self, ttl_ms: int) -> str:
        """A new lease."""
        return await self._grant(ttl_ms)

    async def revoke(self, lease: str) -> None:
        """The end of a lease and of what was written under it, now, or by itself where nobody answers."""
        await self._revoke(lease)

    async def _get(self) -> tuple[Versioned, int]:
        await self._prepare()
        found, revision = await self._gateway.range(self._path + b"/value")
        if not found:
            return Versioned(b"", 0), revision
        return Versioned(unb64(found[0].get("value")), int(found[0]["version"])), revision

    async def _prepare(self) -> None:
        """Find out whether this process may do what it will have to: etcd looks at the rights of a transaction first,
        and this one's condition never holds."""
        if not self._ready:
            for key in (b"/value", b"/members/-", b"/leases/-"):
                await self._gateway.put_if(self._path + key, b"", version=_NO_VERSION, writes=False)
            self._ready = True

    async def _grant(self, ttl_ms: int) -> str:
        answer = await self._gateway.call("lease/grant", {"TTL": str(max(1, -(-ttl_ms // 1000)))}, writes=True)
        return str(answer["ID"])

    async def _revoke(self, lease: str) -> None:
        with contextlib.suppress(EvermqError):
            await self._gateway.call("lease/revoke", {"ID": lease}, writes=True)

    async def _wait(self, key: bytes, revision: int) -> None:
        """Until a key changes, or it is time to look again."""

        async def changes() -> None:
            async for _ in self._gateway.changes(key, revision):
                return
            await asyncio.sleep(_PAUSE_S)

        task = self._start(changes())
        try:
            await asyncio.wait([task], timeout=_LOOK_AGAIN_S)
        finally:
            task.cancel()

    async def _compact(self) -> None:
        """Again and again, up to where etcd stood a while ago. Somebody else may have done so, or this user may not."""
        while True:
            with contextlib.suppress(EvermqError):
                _, revision = await self._gateway.range(self._path + b"/value")
                await asyncio.sleep(self._history_s)
                await self._gateway.call("kv/compaction", {"revision": str(revision)})
            await asyncio.sleep(_PAUSE_S)

    def _start(self, act: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(act)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _keep(self, kept: _Kept) -> _Kept:
        self._kept.add(kept)
        kept.start()
        return kept


class _Kept:
    """A lease or membership, renewed in the background. value: of a member, None for a holder."""

    def __init__(
        self, owner: EtcdCoordinator, key: bytes, value: bytes | None, lease: str, ttl_ms: int, number: int
    ) -> None:
        self._owner = owner
        self._key = key
        self._value = value
        self._lease = lease
        self._ttl_ms = ttl_ms
        self._task: asyncio.Task[None] | None = None
        self._renewed_s = asyncio.get_running_loop().time()
        self._lost = False
        self.number = number

    @property
    def held(self) -> bool:
        silent_ms = (asyncio.get_running_loop().time() - self._renewed_s) * 1000
        return not self._lost and silent_ms < self._ttl_ms

    def start(self) -> None:
        self._task = asyncio.create_task(self._renew())

    async def say(self) -> None:
        await self._owner.write(self._key, self._value or b"", self._lease)

    async def update(self, value: bytes) -> None:
        said, self._value = self._value, value
        if value != said or not await self._owner.says(self._key, value, self._lease):
            await self.say()

    async def release(self) -> None:
        await self.leave()

    async def leave(self) -> None:
        if self._owner.forget(self):
            self._lost = True
            if self._task:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            await self._owner.revoke(self._lease)

    async def _renew(self) -> None:
        said = True
        while True:
            await asyncio.sleep(self._ttl_ms / 3000 if said else _PAUSE_S)
            began_s = asyncio.get_running_loop().time()
            try:
                if await self._owner.renew(self._lease):
                    self._renewed_s = began_s
                elif self._value is None:
                    self._lost = True
                    return
                else:
                    self._lease = await self._owner.grant(self._ttl_ms)
                    said = False
                if self._value is not None and not said:
                    await self.say()
                said = True
            except EvermqError:
                said = False
