"""The memory of a slot: a mapped file, which a kill leaves as it was, and a power loss does not.

Head, 64 bytes: magic 8 | incarnation u64 | boot id 16 | token u64 | empty u8 | file 16. What follows belongs to who
holds the slot. After a start of the machine under another boot id the bytes may be of any age, and so they may in
another file than the one that the head names, which is a copy: the area is zeroed, and the incarnation rises. The
incarnation stands in a flushed file beside it too, for a memory that was lost.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import secrets
import sys
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from uuid import UUID

__all__ = ["SlotMemory", "is_marked_empty"]

_MAGIC = b"EVQSLOT1"
_HEAD = Struct("<8sQ16sQ?16s")
_HEAD_BYTES = 64
_EMPTY_AT = 40
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATX_BTIME, _AT_EMPTY_PATH, _BTIME = 0x800, 0x1000, slice(80, 92)  # see statx(2)


class SlotMemory:
    """Opened for whoever holds the slot. was_kept: whether it is as the last holder left it. OSError goes up."""

    def __init__(self, path: Path, *, boot: bytes | None = None) -> None:
        self._path = path
        self._beside = path.with_name("incarnation")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._map: mmap.mmap | None = None
        self._is_empty = False
        try:
            self._read(boot or _boot_id())
        except BaseException:
            self.close()
            raise

    def _read(self, boot: bytes) -> None:
        head = os.pread(self._fd, _HEAD_BYTES, 0).ljust(_HEAD.size, b"\0")
        magic, incarnation, booted, token, _, named = _HEAD.unpack_from(head)
        file = _file_id(self._fd)
        self.incarnation: int = incarnation
        self.was_kept = magic == _MAGIC and booted == boot and named == file
        if not self.was_kept:
            known = self.incarnation if magic == _MAGIC else 0
            self.incarnation = max(known, self._noted()) + 1
            self._note(self.incarnation)
            token = token if magic == _MAGIC and named == file else secrets.randbits(63)
            is_new = magic != _MAGIC and not (self._path.parent / "log").exists()
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, _HEAD_BYTES)
            os.pwrite(self._fd, _HEAD.pack(_MAGIC, self.incarnation, boot, token, is_new, file), 0)
        self.token = f"{token:016x}"
        self._map = mmap.mmap(self._fd, 0)
        self._is_empty = bool(self._map[_EMPTY_AT])

    @property
    def is_empty(self) -> bool:
        return self._is_empty

    @is_empty.setter
    def is_empty(self, value: bool) -> None:
        self._is_empty = value
        if self._map is not None:  # else another process may hold the slot
            self._map[_EMPTY_AT] = int(value)

    def area(self, size_bytes: int) -> memoryview:
        """The first `size_bytes` behind the head, zeros where there were none; for 0 all there are, only to be read."""
        whole = max(os.fstat(self._fd).st_size, _HEAD_BYTES + size_bytes)
        if size_bytes:
            os.posix_fallocate(self._fd, 0, whole)  # a map of blocks for which there is no room ends the process
        area = memoryview(mmap.mmap(self._fd, whole))
        return area[_HEAD_BYTES : _HEAD_BYTES + size_bytes] if size_bytes else area[_HEAD_BYTES:]

    def close(self) -> None:
        """Views that somebody still holds stay valid; nobody may write to them any more."""
        if self._map is not None:
            self._map.close()  # it has a descriptor of its own
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _noted(self) -> int:
        try:
            text = self._beside.read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return 0
        return int(text) if text.strip().isdecimal() else 0

    def _note(self, incarnation: int) -> None:
        fresh = self._beside.with_name("incarnation-new")
        with fresh.open("w") as file:
            file.write(f"{incarnation}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._beside)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def is_marked_empty(path: Path) -> bool:
    """What the mark of a memory says that another process may hold; not where a power loss may have taken it back, nor
    in a copy."""
    try:
        with path.open("rb") as opened:
            head, file = opened.read(_HEAD.size), _file_id(opened.fileno())
    except FileNotFoundError:
        return False
    if len(head) < _HEAD.size:
        return False
    magic, _, booted, _, is_empty, named = _HEAD.unpack(head)
    return bool(magic == _MAGIC and booted == _boot_id() and named == file and is_empty)


def _file_id(fd: int) -> bytes:
    """Of this file, and of none that took its place. When it was made tells it from one that was given the number of
    its inode again; the device does not, since it may have another number after each mount."""
    told = ctypes.create_string_buffer(256)
    try:
        failed = ctypes.CDLL(None).statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, told)
    except AttributeError:
        failed = -1
    is_told = not failed and int.from_bytes(told.raw[:4], sys.byteorder) & _STATX_BTIME
    made = told.raw[_BTIME] if is_told else b""
    return blake2b(b"%d " % os.fstat(fd).st_ino + made, digest_size=16).digest()


def _boot_id() -> bytes:
    """Of this start of the machine; where there is none, one that never matches a later one."""
    try:
        return UUID(_BOOT_ID.read_text().strip()).bytes
    except (OSError, ValueError):
        return secrets.token_bytes(16)
