"""What a coordinator said last, kept on this machine: known at once after a restart, though nobody answers."""

from __future__ import annotations

import binascii
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from evermq.coordinator import Coordinator, Lease, Membership, Versioned, is_version

__all__ = ["Remembered"]

_PAUSE_S = 0.5


class Remembered:
    """See `Coordinator`. file: where the last value is kept; what is there and unreadable counts as nothing. fits:
    whether a value is one that anybody would follow; others are not kept, so that the last one that was stays known.

    A watch begins with what was kept, and goes on with what `inner` says.
    """

    def __init__(self, inner: Coordinator, file: Path, *, fits: Callable[[bytes], bool] = bool) -> None:
        self._inner = inner
        self._file = file
        self._fits = fits

    async def get(self) -> Versioned:
        found = await self._inner.get()
        self._keep(found)
        return found

    async def put(self, value: bytes, *, version: int) -> Versioned:
        found = await self._inner.put(value, version=version)
        self._keep(found)
        return found

    async def watch(self) -> AsyncIterator[Versioned]:
        kept = self.kept()
        if kept is not None:
            yield kept
        async for found in self._inner.watch():
            self._keep(found)
            yield found

    async def lease(self, name: str, *, ttl_ms: int) -> Lease:
        return await self._inner.lease(name, ttl_ms=ttl_ms)

    async def join(self, name: str, value: bytes, *, ttl_ms: int) -> Membership:
        return await self._inner.join(name, value, ttl_ms=ttl_ms)

    async def members(self) -> dict[str, bytes]:
        return await self._inner.members()

    async def drop(self) -> None:
        await self._inner.drop()
        self._file.unlink(missing_ok=True)

    async def close(self) -> None:
        await self._inner.close()

    def kept(self) -> Versioned | None:
        """What it said last, None if nothing is known of that."""
        try:
            content = self._file.read_bytes()
        except OSError:
            return None
        head, _, value = content.partition(b"\n")
        version, _, check = head.partition(b" ")
        whole = is_version(version) and check == b"%08x" % binascii.crc32(value)
        return Versioned(value, int(version)) if whole else None

    def _keep(self, found: Versioned) -> None:
        """Not flushed: after a power cut an older value, or none, is as good as a network that was cut earlier."""
        if not found.version or not self._fits(found.value):
            return
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk must not stop anybody from following
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.write_bytes(b"%d %08x\n" % (found.version, binascii.crc32(found.value)) + found.value)
            beside.replace(self._file)
