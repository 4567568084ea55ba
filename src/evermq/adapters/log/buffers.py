"""Byte arrays that are used again: fresh memory costs a page fault every 4 KiB, which is more than writing it."""

from __future__ import annotations

from threading import Lock

__all__ = ["Buffers"]

_LEAST_BYTES = 128 << 10
_LARGEST_BYTES = 8 << 20


class Buffers:
    """Arrays whose sizes are powers of two, for any thread; at most `kept_bytes_max` of them lie ready."""

    def __init__(self, kept_bytes_max: int = 16 << 20) -> None:
        self._kept_bytes_max = kept_bytes_max
        self._kept_bytes = 0
        self._free: dict[int, list[bytearray]] = {}
        self._lock = Lock()

    def take(self, size: int) -> bytearray:
        """An array of at least this size, with whatever it held before."""
        if size > _LARGEST_BYTES:
            return bytearray(size)
        rounded = max(_LEAST_BYTES, 1 << (size - 1).bit_length())
        with self._lock:
            free = self._free.get(rounded)
            if free:
                self._kept_bytes -= rounded
                return free.pop()
        return bytearray(rounded)

    def give(self, buffer: bytearray) -> None:
        """Nobody looks at this one any more."""
        size = len(buffer)
        with self._lock:
            if size <= _LARGEST_BYTES and self._kept_bytes + size <= self._kept_bytes_max:
                self._free.setdefault(size, []).append(buffer)
                self._kept_bytes += size
