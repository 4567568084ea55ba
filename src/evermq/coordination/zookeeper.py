"""ZooKeeper as a coordinator: a node for the value, ephemeral ones for members and leases.

PATH/value holds the value, and its version is the node's; PATH/members/NAME and PATH/leases/NAME/… live as long as
the session of whoever made them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError
from kazoo.security import make_digest_acl

from evermq.clock import SYSTEM
from evermq.coordination.session import Session
from evermq.coordinator import VALUE_BYTES_MAX, Lease, Membership, Versioned
from evermq.errors import EvermqError, Fenced, TooLarge
from evermq.topics import check_entry

__all__ = ["ZooKeeperCoordinator"]

_LOOK_AGAIN_S = 5.0  # a watch that was missed is made good after so long
_PAUSE_S = 0.2
_NO_VERSION = (1 << 31) - 1


class ZooKeeperCoordinator:
    """See `Coordinator`. hosts: `host:port,host:port`. path: of the node that all of it is below; made if missing.

    session_ms: how long a process may be silent before its entries go; this, and no other, is every ttl here. username
    and password: of a digest identity, which alone may then read and write what is made here.
    """

    def __init__(
        self, hosts: str, path: str, *, session_ms: int = 4_000, username: str = "", password: str = ""
    ) -> None:
        self._path = path
        options: dict[str, Any] = {"hosts": hosts, "timeout": session_ms / 1000}
        if username:
            options["auth_data"] = [("digest", f"{username}:{password}")]
            options["default_acl"] = [make_digest_acl(username, password, all=True)]
        self._session = Session(f"zookeeper://{hosts}{path}", self._on_session, **options)
        self._news: set[asyncio.Event] = set()
        # kazoo keeps what a watch is to call until the node changes, in a set: the same one each time is kept once.
        self._on_change = lambda _: self._session.soon(self._wake)
        self._entries: dict[str, bytes] = {}
        self._leases: set[_Lease] = set()
        self._unwanted: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = False
        self._session.start()

    async def get(self) -> Versioned:
        return await self._get()

    async def put(self, value: bytes, *, version: int) -> Versioned:
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value of {len(value)} bytes is over {VALUE_BYTES_MAX}")
        await self._prepare()
        try:
            stat = await self._session.call("set", f"{self._path}/value", value, version, writes=True)
        except NoNodeError:
            self._ready = False  # somebody took it away: the next call makes it anew
            raise Fenced(f"{self._path}/value is gone: read it again") from None
        except BadVersionError:
            raise Fenced(f"{self._path}/value is not at version {version}: somebody else wrote it, read it") from None
        return Versioned(value, stat.version)

    async def watch(self) -> AsyncIterator[Versioned]:
        seen: Versioned | None = None
        with self._told() as news:
            while not self._session.closed:
                news.clear()
                with contextlib.suppress(EvermqError):
                    found = await self._get(self._on_change)
                    if found != seen:
                        seen = found
                        yield found
                        continue
                await _heard(news, _LOOK_AGAIN_S if self._session.connected else _PAUSE_S)

    async def lease(self, name: str, *, ttl_ms: int) -> Lease:
        await self._prepare()
        directory = f"{self._path}/leases/{check_entry(name)}"
        with contextlib.suppress(NodeExistsError):
            await self._session.call("create", directory, b"", writes=True)
        mark = SYSTEM.token()
        try:
            options = {"ephemeral": True, "sequence": True}
            made: str = await self._session.call("create", f"{directory}/{mark}-", b"", writes=True, **options)
            await self._until_first(directory, made.rpartition("/")[2])
        except BaseException:
            self._soon(self._sweep(directory, mark))
            raise
        lease = _Lease(self, made)
        self._leases.add(lease)
        return lease

    async def join(self, name: str, value: bytes, *, ttl_ms: int) -> Membership:
        await self._prepare()
        path = f"{self._path}/members/{check_entry(name)}"
        with contextlib.suppress(NoNodeError):
            await self._session.call("delete", path, writes=True)
        await self._session.call("create", path, value, writes=True, ephemeral=True)
        self._entries[path] = value
        return _Member(self, path)

    async def members(self) -> dict[str, bytes]:
        await self._prepare()
        names = sorted(await self._session.call("get_children", f"{self._path}/members"))
        found = await asyncio.gather(*(self._member(name) for name in names if not name.startswith(".")))
        return {name: value for name, value in found if value is not None}

    async def drop(self) -> None:
        await self._remove_with_children(self._path)
        self._ready = False

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        self._wake()

    async def say(self, path: str, value: bytes | None) -> None:
        """Of a member: what it says from now on; None: it leaves."""
        if value is None:
            if self._entries.pop(path, None) is not None:
                await self.remove(path)
            return
        self._entries[path] = value
        await self._prepare()
        try:
            await self._session.call("set", path, value, writes=True)
        except NoNodeError:
            with contextlib.suppress(NodeExistsError):
                await self._session.call("create", path, value, writes=True, ephemeral=True)

    async def says(self, path: str, value: bytes) -> bool:
        """Of a member: whether it said that last, and it stands there."""
        return self._entries.get(path) == value and (await self._member(path.rpartition("/")[2]))[1] == value

    async def remove(self, path: str) -> None:
        """Take an own node away, now or when that is possible: in a session that goes on it would stay, and with it a
        lease that nobody holds and all others wait for."""
        self._unwanted.add(path)
        if not await self._removed(path):
            self._soon(self._restore())

    async def _removed(self, path: str) -> bool:
        try:
            await self._session.call("delete", path, writes=True)
        except NoNodeError:
            pass
        except EvermqError:
            return False
        self._unwanted.discard(path)
        return True

    async def _remove_with_children(self, path: str) -> None:
        with contextlib.suppress(NoNodeError):
            for name in await self._session.call("get_children", path):
                await self._remove_with_children(f"{path}/{name}")
            await self._session.call("delete", path, writes=True)

    def is_held(self, lease: _Lease) -> bool:
        """Whether the session that made it lives, as far as is known."""
        return lease in self._leases and self._session.connected and not self._session.closed

    def forget(self, lease: _Lease) -> None:
        """It is held no more."""
        self._leases.discard(lease)

    @contextlib.contextmanager
    def _told(self) -> Iterator[asyncio.Event]:
        """Set each time that a watched node changed, whichever it was, and with each session."""
        news = asyncio.Event()
        self._news.add(news)
        try:
            yield news
        finally:
            self._news.discard(news)

    def _wake(self) -> None:
        for news in self._news:
            news.set()

    async def _get(self, on_change: Callable[[object], None] | None = None) -> Versioned:
        await self._prepare()
        try:
            value, stat = await self._session.call("get", f"{self._path}/value", on_change)
        except NoNodeError:
            self._ready = False
            return Versioned(b"", 0)
        return Versioned(value, stat.version)

    async def _prepare(self) -> None:
        """Make the nodes if they are missing, and find out whether this process may do what it will have to."""
        if self._ready:
            return
        call, path = self._session.call, self._path
        for each in ("value", "members", "leases"):
            await call("ensure_path", f"{path}/{each}", writes=True)
        with contextlib.suppress(BadVersionError):  # without the right, NoAuth comes before the version is looked at
            await call("set", f"{path}/value", b"", _NO_VERSION, writes=True)
        for each in ("members", "leases"):
            trial = f"{path}/{each}/.{SYSTEM.token()}"
            await call("create", trial, b"", writes=True, ephemeral=True)
            await call("delete", trial, writes=True)
        self._ready = True

    async def _member(self, name: str) -> tuple[str, bytes | None]:
        try:
            value, _ = await self._session.call("get", f"{self._path}/members/{name}")
        except NoNodeError:
            return name, None
        return name, value

    async def _until_first(self, directory: str, mine: str) -> None:
        """The lowest number holds; each waits for the one before it."""
        with self._told() as news:
            while True:
                news.clear()
                queue = sorted(await self._session.call("get_children", directory), key=_number)
                if mine not in queue:
                    raise Fenced(f"{directory}/{mine} is gone: its session ended while it waited")
                at = queue.index(mine)
                if not at:
                    return
                with contextlib.suppress(NoNodeError):  # `exists` would leave a watch on what never comes again
                    await self._session.call("get", f"{directory}/{queue[at - 1]}", self._on_change)
                    await _heard(news, _LOOK_AGAIN_S)

    async def _sweep(self, directory: str, mark: str) -> None:
        """Take away what an attempt left that was given up, or whose answer was lost."""
        while not self._session.closed:
            try:
                for name in await self._session.call("get_children", directory):
                    if name.startswith(mark):
                        await self.remove(f"{directory}/{name}")
                return
            except EvermqError:
                await asyncio.sleep(_PAUSE_S)

    def _on_session(self, fresh: bool) -> None:
        if fresh:
            self._leases.clear()
        self._wake()
        self._soon(self._restore())

    async def _restore(self) -> None:
        """Make good what a session that was lost took away, and take away what it left; until all of it is done."""
        while not self._session.closed:
            left = [path for path in list(self._unwanted) if not await self._removed(path)]
            try:
                for path, value in list(self._entries.items()):
                    await self.say(path, value)
                if not left:
                    return
            except EvermqError:
                pass  # once more
            await asyncio.sleep(_PAUSE_S)

    def _soon(self, act: Any) -> None:
        task = asyncio.ensure_future(_quietly(act))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Lease:
    def __init__(self, owner: ZooKeeperCoordinator, path: str) -> None:
        self._owner = owner
        self._path = path
        self.number = _number(path)

    @property
    def held(self) -> bool:
        return self._owner.is_held(self)

    async def release(self) -> None:
        self._owner.forget(self)
        await self._owner.remove(self._path)


class _Member:
    def __init__(self, owner: ZooKeeperCoordinator, path: str) -> None:
        self._owner = owner
        self._path = path

    async def update(self, value: bytes) -> None:
        if not await self._owner.says(self._path, value):
            await self._owner.say(self._path, value)

    async def leave(self) -> None:
        await self._owner.say(self._path, None)


def _number(name: str) -> int:
    return int(name[-10:])


async def _heard(news: asyncio.Event, limit_s: float) -> None:
    """Until there is some, or it is time to look again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await news.wait()


async def _quietly(act: Any) -> None:
    with contextlib.suppress(EvermqError, NoNodeError):
        await act
