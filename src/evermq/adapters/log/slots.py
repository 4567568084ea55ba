"""Slots of a host in a directory: `BASE/NUMBER` or `BASE/=NAME`, each a lock, a memory, and a log of its own.

The lock is the kernel's, on the slot's directory, so it is free when its process is gone, however that went. A
producer with a name waits for its own slot, and says so in the file `wanted`, which makes an adopter leave.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
import weakref
from collections.abc import Awaitable, Callable, Collection
from itertools import count
from pathlib import Path
from urllib.parse import quote

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.queue import traits_of
from evermq.adapters.log.slot_memory import SlotMemory, is_marked_empty
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Misconfigured, Unavailable
from evermq.numbering import in_flight
from evermq.port import Place, Queue
from evermq.slot import HeldSlot
from evermq.traits import Traits

__all__ = ["LogSlots"]

_WAIT_MS = 20
_NAMED = "="
_WANTED_S_MAX = 5
_NAME_BYTES_MAX = 200

OpenLog = Callable[[Path], Awaitable[Place]]


class LogSlots:
    """See `Slots`. base: the directory of the slots of `topic`. open_log: opens the log of a slot by its directory.
    producer: the name of this one, to have its slot again after a restart. own_ms_max: how long it is waited for.
    """

    def __init__(
        self,
        base: Path,
        topic: str,
        open_log: OpenLog,
        *,
        options: LogOptions,
        producer: str | None = None,
        own_ms_max: int = 10_000,
        clock: Clock = SYSTEM,
    ) -> None:
        if producer is not None and not 0 < len(quote(producer, safe="")) <= _NAME_BYTES_MAX:
            raise Misconfigured(f"producer {producer[:40]!r}: give a name of 1 to {_NAME_BYTES_MAX} characters")
        self._base = base
        self._topic = topic
        self._open_log = open_log
        self._producer = producer
        self._own_ms_max = own_ms_max
        self._clock = clock
        self._own: _Slot | None = None
        self._taking = asyncio.Lock()
        self._adopted: dict[Path, _Slot] = {}
        self._closed = False
        self.traits: Traits = traits_of(options, lanes=options.lanes)

    async def own(self) -> HeldSlot:
        async with self._taking:
            self._check()
            if self._own is None:
                self._own = await self._named() if self._producer is not None else self._first_free()
            return self._own

    async def orphan(self) -> HeldSlot | None:
        for path in self._paths():
            if self._held(path) or not (slot := self._try(path)):
                continue
            if slot.may_hold_something and not slot.is_wanted:
                self._adopted[path] = slot
                return slot
            slot.unlock()
        return None

    async def backlog(self, group: str) -> int:
        found = 0
        for path in self._paths():
            # One that is marked as empty is not opened: its holder may be about to.
            if (path / "log").exists() and not is_marked_empty(path / "memory"):
                held = self._held(path)
                found += await (await held.queue()).backlog(group) if held else await self._left(path, group)
        return found

    async def _left(self, path: Path, group: str) -> int:
        place = await self._open_log(path / "log")
        try:
            return await (await place.queue(self._topic)).backlog(group) if self._topic in await place.topics() else 0
        finally:
            await place.close()

    async def close(self) -> None:
        self._closed = True
        for slot in [*self._adopted.values(), *([self._own] if self._own else [])]:
            await slot.release()

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"the slots of {self._topic} were closed: open the queue again")

    def _held(self, path: Path) -> _Slot | None:
        """The slot there, where this process has it."""
        slot = self._own if self._own and self._own.path == path else self._adopted.get(path)
        return slot if slot and slot.is_locked else None

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self._base.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []

    def _first_free(self) -> _Slot:
        return next(slot for number in count() if (slot := self._try(self._base / str(number))))

    async def _named(self) -> _Slot:
        """Waits for an adopter to leave, which it does between two batches."""
        path = self._base / f"{_NAMED}{quote(self._producer or '', safe='')}"
        until_ms = self._clock.monotonic_ms() + self._own_ms_max
        wanted = path / "wanted"
        while not (slot := self._try(path)):
            if self._clock.monotonic_ms() > until_ms:
                raise Unavailable(f"producer {self._producer!r} runs in another process of this host: end that first")
            wanted.touch()
            await self._clock.sleep(_WAIT_MS)
            self._check()
        wanted.unlink(missing_ok=True)
        return slot

    def _try(self, path: Path) -> _Slot | None:
        """The slot, locked, or None where another process has it."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"{path} cannot be used as a slot: {error.strerror}; choose another directory") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _Slot(path, fd, self._topic, self._open_log)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError as error:
            os.close(fd)
            raise Unavailable(f"the memory of slot {path} cannot be used: {error.strerror or error}") from error
        except BaseException:
            os.close(fd)
            raise


class _Slot:
    """See `HeldSlot`."""

    def __init__(self, path: Path, fd: int, topic: str, open_log: OpenLog) -> None:
        self.path = path
        self._fd = fd
        self._topic = topic
        self._open_log = open_log
        self._memory = SlotMemory(path / "memory")
        self._place: Place | None = None
        self._opening = asyncio.Lock()
        self.is_named = path.name.startswith(_NAMED)
        _held.add(self)

    @property
    def name(self) -> str:
        return self.path.name.removeprefix(_NAMED) if self.is_named else f"{self._memory.token}-{self.path.name}"

    @property
    def incarnation(self) -> int:
        return self._memory.incarnation

    @property
    def is_empty(self) -> bool:
        return self._memory.is_empty

    @property
    def is_locked(self) -> bool:
        return self._fd >= 0

    @property
    def is_wanted(self) -> bool:
        try:
            age_s = time.time() - (self.path / "wanted").stat().st_mtime
        except FileNotFoundError:
            return False
        return abs(age_s) < _WANTED_S_MAX  # else who wanted it is gone as well, though the clock was set back since

    @property
    def may_hold_something(self) -> bool:
        """Messages in its log, or numbers that were given and may not have landed."""
        if (self.path / "log").exists() and not self._memory.is_empty:
            return True
        return not self.is_named and bool(in_flight(self._memory.area(0)))

    def memory(self, size_bytes: int) -> memoryview:
        try:
            return self._memory.area(size_bytes)
        except OSError as error:
            raise Unavailable(
                f"the memory of slot {self.path} has no room: {error.strerror}; free space there"
            ) from error

    def mark(self, *, empty: bool) -> None:
        self._memory.is_empty = empty

    async def queue(self) -> Queue:
        return await (await self._log()).queue(self._topic)

    async def groups(self) -> Collection[str]:
        return (await (await self._log()).describe(self._topic)).groups

    async def _log(self) -> Place:
        async with self._opening:
            if not self.is_locked:
                raise Unavailable(f"slot {self.path} was left to others")
            if self._place is None:
                self._place = await self._open_log(self.path / "log")
        return self._place

    async def release(self) -> None:
        try:
            async with self._opening:  # by who asks what is left, perhaps
                place, self._place = self._place, None
                if place:
                    await place.close()
        finally:
            self.unlock()

    def unlock(self) -> None:
        """Leave it to others; again is harmless."""
        if self._fd >= 0:
            self._memory.close()
            os.close(self._fd)
            self._fd = -1


_held: weakref.WeakSet[_Slot] = weakref.WeakSet()


def _forked() -> None:
    """The lock belongs to the parent, and is free when that is gone, however long the child lives."""
    for slot in list(_held):
        slot.unlock()


os.register_at_fork(after_in_child=_forked)
