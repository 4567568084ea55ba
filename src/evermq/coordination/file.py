"""A coordinator of the processes of one machine: a directory.

DIR/value holds the version and the value; DIR/members and DIR/leases hold a file for each. Whoever writes holds the
lock on DIR/lock, and replaces files as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from evermq.coordination.held_file import HeldFile, content_of, is_left, living
from evermq.coordinator import VALUE_BYTES_MAX, Lease, Membership, Versioned, is_version
from evermq.errors import Closed, Denied, EvermqError, Fenced, TooLarge, Unavailable
from evermq.topics import check_entry

__all__ = ["FileCoordinator"]

T = TypeVar("T", bound=HeldFile | None)
_POLL_S = 0.1
_LOCK_S_MAX = 2.0


class FileCoordinator:
    """See `Coordinator`. directory: made if it is missing; for one value alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._value = directory / "value"
        self._kept: set[_Kept] = set()
        self._closed = False

    @classmethod
    async def open(cls, directory: Path) -> FileCoordinator:
        """Raises Denied where this process may not write there."""
        with _typed(directory):
            for each in (directory, directory / "members", directory / "leases"):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            raise Denied(f"{directory}: this user may not read and write there: let it, or name another directory")
        return cls(directory)

    async def get(self) -> Versioned:
        self._check()
        return self._read()

    async def put(self, value: bytes, *, version: int) -> Versioned:
        self._check()
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value of {len(value)} bytes is over {VALUE_BYTES_MAX}")
        return await asyncio.to_thread(self._put, value, version)

    async def watch(self) -> AsyncIterator[Versioned]:
        seen: tuple[int, int] | None = None
        while not self._closed:
            state = self._state()
            if state != seen:
                with contextlib.suppress(EvermqError):
                    found = self._read()
                    seen = state
                    yield found
            await asyncio.sleep(_POLL_S)

    async def lease(self, name: str, *, ttl_ms: int) -> Lease:
        self._check()
        path = self._directory / "leases" / check_entry(name)
        while True:
            held = await _held(partial(self._take, path, ttl_ms), remove=False)
            if held:
                return self._keep(held, ttl_ms, _count(path), remove=False)
            await asyncio.sleep(_POLL_S)
            self._check()

    async def join(self, name: str, value: bytes, *, ttl_ms: int) -> Membership:
        self._check()
        path = self._directory / "members" / check_entry(name)
        held = await _held(partial(self._enter, path, value, ttl_ms), remove=True)
        return self._keep(held, ttl_ms, 0, remove=True)

    async def members(self) -> dict[str, bytes]:
        self._check()
        directory = self._directory / "members"
        with _typed(directory):
            names = [name for name in os.listdir(directory) if not name.startswith(".")]
            found = {name: living(directory / name) for name in sorted(names)}
        return {name: value for name, value in found.items() if value is not None}

    async def drop(self) -> None:
        self._check()
        with _typed(self._directory), contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(shutil.rmtree, self._directory)

    async def close(self) -> None:
        self._closed = True
        for kept in list(self._kept):
            await kept.leave()

    def _keep(self, held: HeldFile, ttl_ms: int, number: int, *, remove: bool) -> _Kept:
        kept = _Kept(held, number, ttl_ms, self._kept, remove=remove)
        self._kept.add(kept)
        return kept

    def _state(self) -> tuple[int, int]:
        try:
            found = self._value.stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _read(self) -> Versioned:
        """What somebody else put there by hand has no version: it counts as never written, and can be replaced."""
        with _typed(self._value):
            try:
                content = self._value.read_bytes()
            except FileNotFoundError:
                self._directory.stat()
                return Versioned(b"", 0)
        version, _, value = content.partition(b"\n")
        return Versioned(value, int(version)) if is_version(version) else Versioned(content, 0)

    def _put(self, value: bytes, version: int) -> Versioned:
        with _typed(self._directory), self._alone():
            current = self._read().version
            if current != version:
                raise Fenced(f"{self._value} is at version {current}, not {version}: somebody else wrote it, read it")
            beside = self._value.with_name(".value")
            with beside.open("wb") as file:
                file.write(b"%d\n" % (version + 1) + value)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(self._value)
            _sync(self._directory)
        return Versioned(value, version + 1)

    def _take(self, path: Path, ttl_ms: int) -> HeldFile | None:
        with _typed(path), self._alone():
            if living(path) is not None:
                return None
            return HeldFile.take(path, b"%d" % (_count(path) + 1), ttl_ms)

    def _enter(self, path: Path, value: bytes, ttl_ms: int) -> HeldFile:
        """And take away what members left that were killed, which all who count would read for ever."""
        with _typed(path), self._alone():
            for each in path.parent.iterdir():
                if not each.name.startswith(".") and is_left(each):
                    each.unlink(missing_ok=True)
            return HeldFile.take(path, value, ttl_ms)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        fd = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end_s = time.monotonic() + _LOCK_S_MAX
            while not _locked(fd):
                if time.monotonic() > end_s:
                    raise Unavailable(f"{self._directory}/lock is held for more than {_LOCK_S_MAX:.0f} s by a process")
                time.sleep(0.005)
            yield
        finally:
            os.close(fd)

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"coordinator {self._directory} was closed: open it again")


class _Kept:
    """A lease or membership, stamped in the background."""

    def __init__(self, held: HeldFile, number: int, ttl_ms: int, among: set[_Kept], *, remove: bool) -> None:
        self._held = held
        self.number = number
        self._among = among
        self._remove = remove
        self._task = asyncio.create_task(self._stamp(ttl_ms / 3000))

    @property
    def held(self) -> bool:
        return self._held.mine

    async def update(self, value: bytes) -> None:
        with _typed(Path("members")):
            self._held.write(value)

    async def release(self) -> None:
        await self.leave()

    async def leave(self) -> None:
        if self in self._among:
            self._among.discard(self)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._held.drop(remove=self._remove)

    async def _stamp(self, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            self._held.stamp()


async def _held(take: Callable[[], T], *, remove: bool) -> T:
    """What a thread takes, which goes on where this is cancelled: then nobody has it, and it is given back."""

    def give_back(taken: asyncio.Future[T]) -> None:
        held = None if taken.cancelled() or taken.exception() else taken.result()
        if isinstance(held, HeldFile):
            held.drop(remove=remove)

    taking = asyncio.ensure_future(asyncio.to_thread(take))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        taking.add_done_callback(give_back)
        raise


def _count(path: Path) -> int:
    """How often a lease was taken."""
    number = content_of(path)
    return int(number) if is_version(number) else 0


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _typed(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise Denied(f"{error.filename or path}: {error.strerror}: let this user read and write there") from None
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror}") from None
