"""Processes whose memory is measured: `python -m tests.e2e.limits NAME DIRECTORY`, the figures as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from tests.e2e.dying_disk import HookedDisk

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.system_disk import SystemDisk
from evermq.client import Producer
from evermq.errors import Overloaded
from evermq.message import MessageFactory

OPTIONS = LogOptions(fsync="never", segment_bytes=4 << 20, spares_max=1, retain_bytes=1 << 40)
BATCH = 4_000


def memory_mb() -> float:
    """What this process holds now."""
    return float(psutil.Process().memory_info().rss) / (1 << 20)  # type: ignore[no-untyped-call]


def memory_peak_mb() -> float:
    """The most that it ever held."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


async def build(directory: Path, count: int = 1_000_000) -> dict[str, Any]:
    """A directory of many messages of about a hundred bytes."""
    place = LogPlace(SystemDisk(directory), OPTIONS)
    queue = await place.queue("orders")
    make = MessageFactory()
    for _ in range(count // BATCH):
        queue.append_blocking([make(b"%090d" % i, key=b"%03d" % (i % 500)) for i in range(BATCH)])
    await place.close()
    segments = list(directory.glob("segment-*"))
    return {"messages": count, "segments": len(segments), "bytes": sum(path.stat().st_size for path in segments)}


class _Counted(SystemDisk):
    """Counts what is read."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.read_bytes = 0

    def open(self, name: str) -> Any:
        return _CountedFile(super().open(name), self)


class _CountedFile:
    def __init__(self, file: Any, disk: _Counted) -> None:
        self._file = file
        self._disk = disk

    def pread(self, count: int, offset: int, *, uncached: bool = False) -> bytes:
        data: bytes = self._file.pread(count, offset, uncached=uncached)
        self._disk.read_bytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


async def open_it(directory: Path) -> dict[str, Any]:
    """Open a directory and close it."""
    before = memory_mb()
    begin = time.monotonic()
    disk = _Counted(directory)
    place = LogPlace(disk, OPTIONS)
    elapsed_s = time.monotonic() - begin
    backlog = await (await place.queue("orders")).backlog("g")
    figures = {"read_bytes": disk.read_bytes, "memory_mb": memory_peak_mb() - before, "backlog": backlog}
    await place.close()
    return {**figures, "elapsed_s": round(elapsed_s, 3)}


async def hold_all(directory: Path) -> dict[str, Any]:
    """Read everything, acknowledge nothing but every hundredth message, and close."""
    place = LogPlace(SystemDisk(directory), OPTIONS)
    reader = await (await place.queue("orders")).reader("g")
    held = acked = 0
    while found := await reader.read(count_max=1_000, wait_ms=0):
        await reader.ack(found[50::100])
        held += len(found)
        acked += len(found[50::100])
    await reader.close()
    await place.close()
    return {"held": held - acked, "cursor_bytes": sum(path.stat().st_size for path in directory.glob("cursors-*"))}


async def outrun(directory: Path) -> dict[str, Any]:
    """Send 200 MB as fast as a slow disk does not take them."""

    def slow(kind: str, half: object) -> None:
        if kind == "sync":
            time.sleep(0.002)

    place = LogPlace(HookedDisk(directory, slow), LogOptions(segment_bytes=8 << 20))
    queue = await place.queue("orders")
    before = memory_mb()
    refused = sent = 0
    async with Producer(queue, memory_bytes_max=8 << 20) as producer:
        while sent < 100_000:
            try:
                producer.send_nowait(os.urandom(2_000))
                sent += 1
            except Overloaded:
                refused += 1
                await asyncio.sleep(0.005)
    stored = sum([place.journal.end(1, lane) for lane in range(16)])
    await place.close()
    return {"sent": sent, "stored": stored, "refused": refused, "memory_mb": memory_peak_mb() - before}


if __name__ == "__main__":
    works = {"build": build, "open": open_it, "hold": hold_all, "outrun": outrun}
    print(json.dumps(asyncio.run(works[sys.argv[1]](Path(sys.argv[2])))))
