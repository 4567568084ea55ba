"""Memory that is used again: fresh memory costs a page fault every 4 KiB, which is more than writing it."""

from __future__ import annotations

from io import SEEK_END, BytesIO
from threading import Lock

__all__ = ["Buffers"]

_LEAST_BYTES = 128 << 10
_LARGEST_BYTES = 8 << 20


class Buffers:
    """Streams in memory whose sizes are powers of two, for any thread; at most `kept_bytes_max` of them lie ready.

    A stream takes many short bodies in one call, each of them copied once; an array would have them joined first.
    """

    def __init__(self, kept_bytes_max: int = 16 << 20) -> None:
        self._kept_bytes_max = kept_bytes_max
        self._kept_bytes = 0
        self._free: dict[int, list[BytesIO]] = {}
        self._lock = Lock()

    def take(self, size: int) -> BytesIO:
        """One of at least this size, at its beginning, with whatever it held before."""
        if size > _LARGEST_BYTES:
            return BytesIO()
        rounded = max(_LEAST_BYTES, 1 << (size - 1).bit_length())
        with self._lock:
            free = self._free.get(rounded)
            if free:
                self._kept_bytes -= rounded
                buffer = free.pop()
                buffer.seek(0)
                return buffer
        return _new(rounded)

    def give(self, buffer: BytesIO) -> None:
        """Nobody looks at this one any more; where somebody does, it is not used again."""
        try:
            buffer.write(b"")
        except BufferError:
            return
        size = buffer.seek(0, SEEK_END)
        with self._lock:
            if size <= _LARGEST_BYTES and self._kept_bytes + size <= self._kept_bytes_max:
                self._free.setdefault(size, []).append(buffer)
                self._kept_bytes += size


def _new(size: int) -> BytesIO:
    made = BytesIO()
    made.seek(size - 1)
    made.write(b"\0")
    made.seek(0)
    return made
