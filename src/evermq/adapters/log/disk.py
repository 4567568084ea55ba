"""What the embedded log asks of a disk: one directory of files, with writes that are volatile until synced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Disk", "File"]


class File(Protocol):
    """An open file; errors are OSError."""

    def size(self) -> int: ...
    def pwrite(self, parts: Sequence[bytes | bytearray | memoryview], offset: int, *, sync: bool) -> None:
        """Write all parts one after the other at `offset`; durable on return if `sync`, else volatile."""
        ...

    def pread(self, count: int, offset: int, *, uncached: bool = False) -> bytes:
        """Up to `count` bytes, fewer only at the end of the file; `uncached` asks the device, not the cache."""
        ...

    def sync(self) -> None:
        """Make everything written so far durable (data and size, not the name)."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """One directory; names are volatile until `sync_names`."""

    def names(self) -> list[str]: ...
    def create(self, name: str, size: int) -> File:
        """A new file of `size` written zeros, neither synced nor its name durable."""
        ...

    def open(self, name: str) -> File: ...
    def rename(self, old: str, new: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def sync_names(self) -> None: ...
    def capacity(self) -> int:
        """How large the whole disk is, 0 where that is not known."""
        ...

    def reserve(self, name: str, size: int) -> None:
        """Let a file that is never written hold `size` bytes of room, more or fewer than before."""
        ...

    def reserved(self, name: str) -> int:
        """How many bytes such a file holds."""
        ...
