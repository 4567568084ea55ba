"""Runs as a process of its own: appends to a new log, and says between which lines and in how many groups."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.message import MessageFactory

HOUR_MS = 3_600_000
make = MessageFactory()


def count_inside(calls: dict[str, int]) -> None:
    """Where no tracer may look at this process, it looks at itself."""
    dsync = getattr(os, "RWF_DSYNC", 0)

    def counted(name: str) -> None:
        real = getattr(os, name)

        def call(fd: int, *arguments: object) -> object:
            if fd > 2:
                writes = name.startswith(("write", "pwrite"))
                calls["writes"] += writes
                calls["flushes"] += not writes or (len(arguments) > 2 and bool(dsync) and arguments[2] == dsync)
            return real(fd, *arguments)

        setattr(os, name, call)

    for name in ("write", "writev", "pwrite", "pwritev", "fsync", "fdatasync"):
        counted(name)


@contextmanager
def measured(what: str, place: LogPlace, calls: dict[str, int]) -> Iterator[None]:
    before = dict(calls), place.journal.state.sequence
    os.write(2, f"BEGIN {what}\n".encode())
    yield
    os.write(2, f"END {what}\n".encode())
    inside = [str(calls[kind] - before[0][kind]) for kind in ("writes", "flushes")]
    print(what, place.journal.state.sequence - before[1], *inside, flush=True)


async def append_one_by_one(queue: LogQueue) -> None:
    async def producer(number: int) -> None:
        for _ in range(10):
            await queue.append([make(b"x" * 1000, key=f"customer-{number}", headers={"content-type": "text/plain"})])

    await asyncio.gather(*map(producer, range(64)))


async def append_batches(queue: LogQueue, size: int) -> None:
    async def producer(number: int) -> None:
        for _ in range(5):
            await queue.append([make(b"x" * size, key=f"customer-{number}-{i}") for i in range(256)])

    await asyncio.gather(*map(producer, range(4)))


async def main(directory: str, fsync: str, calls: dict[str, int]) -> None:
    place = await LogPlace.open(directory, fsync=fsync, interval_ms=HOUR_MS)
    queue = await place.queue("orders")
    await queue.append([make(b"the first one begins the segment")])
    with measured("producers", place, calls):
        await append_one_by_one(queue)
    with measured("batches", place, calls):
        await append_batches(queue, 1000)
    with measured("large", place, calls):  # 256 buffers of their own in one write call
        await append_batches(queue, 6000)
    with measured("blocking", place, calls):
        for _ in range(20):
            queue.append_blocking([make(b"x" * 1000, key="customer")])
    with measured("nothing", place, calls):
        await asyncio.sleep(0.1)
    await place.close()


if __name__ == "__main__":
    counts = {"writes": 0, "flushes": 0}
    if "inside" in sys.argv:
        count_inside(counts)
    asyncio.run(main(sys.argv[1], sys.argv[2], counts))
