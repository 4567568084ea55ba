"""The least that Python must do for a durable append, and for a message that is read: what is possible here at most.

No topics, no lanes, no keys, no readers, nothing that can fail: what a message is, an id, a time and a body, in columns
as the log has them; one CRC-32C, one write, one flush, one future a group. What separates us from these is ours; what
separates these from the raw disk is the machine's and Python's.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import cycle, repeat
from queue import SimpleQueue
from struct import pack
from threading import Thread

import crc32c

from embedded.messages import make_batches
from embedded.ours import Batches, new_loop_of
from embedded.reading import groups_of
from embedded.workbench import Workbench
from evermq.adapters.log.reading import LaneScan
from evermq.batch import Columns
from evermq.message import Message
from evermq.port import Delivery
from evermq.position import Position
from rig.contender import Contender, Measure
from rig.pace import per_second, spans_per_second

__all__ = ["least_awaiting", "least_blocking", "least_consumer", "least_group_reader"]

_FILES = 4
_FILE_BYTES = 64 << 20
_DSYNC = getattr(os, "RWF_DSYNC", 0)

Part = bytes | memoryview


class _Files:
    """Files that were written before, used in turn."""

    def __init__(self, bench: Workbench) -> None:
        directory = bench.path("least")
        self._fds = [os.open(directory / str(i), os.O_RDWR | os.O_CREAT, 0o600) for i in range(_FILES)]
        self._turn = cycle(self._fds)
        self._fd = next(self._turn)
        self._at = 0
        for fd in self._fds:
            for at in range(0, _FILE_BYTES, 1 << 20):
                os.pwrite(fd, os.urandom(1 << 20), at)
            os.fsync(fd)

    def write(self, parts: list[Part]) -> None:
        crc = 0
        for part in parts:
            crc = crc32c.crc32c(part, crc, gil_release_mode=0)
        parts.insert(0, crc.to_bytes(4, "little"))
        size = sum(map(len, parts))
        if self._at + size > _FILE_BYTES:
            self._fd, self._at = next(self._turn), 0
        os.pwritev(self._fd, parts, self._at, _DSYNC)
        if not _DSYNC:
            os.fdatasync(self._fd)
        self._at += size

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


def _encoded(batch: Sequence[Message], into: BytesIO) -> Part:
    """Whole messages; many of them in memory that is used again, until the part is released."""
    count = len(batch)
    if count == 1:
        [(id, _, body, _, created)] = batch
        return b"".join((pack("<qI", created, len(body)), id.encode(), body))
    columns = Columns.of(batch)
    into.seek(0)
    into.write(pack(f"<{count}q{count}I", *columns.created, *map(len, columns.bodies)))
    into.write("\0".join(columns.ids).encode())
    into.writelines(columns.bodies)
    return into.getbuffer()[: into.tell()]


class _Group:
    """What waits together for one write."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future = loop.create_future()
        self.parts: list[Part] = []


class _Least:
    """Group commit with a writer thread, and nothing else."""

    def __init__(self, files: _Files) -> None:
        self._files = files
        self._open: _Group | None = None
        self._is_busy = False
        self._requests: SimpleQueue[_Group | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._serve)
        self._thread.start()

    async def append(self, batch: Sequence[Message], into: BytesIO) -> None:
        group = self._open
        if group is None:
            group = self._open = _Group(self._loop)
            if not self._is_busy:
                self._loop.call_soon(self._ask)
        part = _encoded(batch, into)
        group.parts.append(part)
        await group.future
        if isinstance(part, memoryview):
            part.release()

    def close(self) -> None:
        self._requests.put(None)
        self._thread.join()

    def _ask(self) -> None:
        group, self._open = self._open, None
        self._is_busy = group is not None
        if group:
            self._requests.put(group)

    def _serve(self) -> None:
        while group := self._requests.get():
            parts = group.parts
            self._files.write([b"".join(parts)] if len(parts) > 4 else parts)
            self._loop.call_soon_threadsafe(self._wake, group)

    def _wake(self, group: _Group) -> None:
        group.future.set_result(None)
        self._loop.call_soon(self._ask)


def least_awaiting(bench: Workbench, callers: int, count: int, size: int, *, loop: str = "asyncio") -> Contender:
    """`callers` tasks, each awaiting the append of `count` messages at a time."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        files = _Files(bench)
        batches = make_batches(bench.messages, callers, count, size)
        new_loop = new_loop_of(loop)

        def measure(seconds: float) -> float:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                return count * runner.run(_append(files, batches, seconds))

        yield measure
        files.close()

    return Contender(
        f"the least, {callers} x {count} x {size} B, {loop}", ready, {} if loop == "asyncio" else {loop: loop}
    )


async def _append(files: _Files, batches: Sequence[Batches], seconds: float) -> float:
    """Batches a second."""
    least = _Least(files)
    end = time.perf_counter() + seconds

    async def caller(mine: Batches) -> int:
        done, into = 0, BytesIO()
        for batch in cycle(mine):
            await least.append(batch, into)
            done += 1
            if time.perf_counter() > end:
                break
        return done

    begin = time.perf_counter()
    counts = await asyncio.gather(*map(caller, batches))
    took = time.perf_counter() - begin
    least.close()
    return sum(counts) / took


def least_blocking(bench: Workbench, count: int, size: int) -> Contender:
    """One thread that writes itself."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        files = _Files(bench)
        batches = make_batches(bench.messages, 1, count, size)[0]
        yield lambda seconds: count * per_second(partial(_write, files, BytesIO()), batches, seconds)
        files.close()

    return Contender(f"the least, one thread, {count} x {size} B", ready)


def _write(files: _Files, into: BytesIO, batch: Sequence[Message]) -> None:
    part = _encoded(batch, into)
    files.write([part])
    if isinstance(part, memoryview):
        part.release()


def least_group_reader(bench: Workbench) -> Contender:
    """`os.pread` and a CRC-32C of every frame."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        with groups_of(bench) as (messages, groups):
            yield lambda seconds: messages * per_second(_read_and_check, [groups], seconds)

    return Contender("os.pread and CRC-32C of the same groups", ready)


def _read_and_check(groups: list[tuple[int, int, int]]) -> None:
    for group in groups:
        crc32c.crc32c(os.pread(*group))


def least_consumer(bench: Workbench) -> Contender:
    """Every lane from front to back: messages are decoded and handed out, nothing is settled or shared."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        place = bench.stocked()
        ends = {lane: end for (_, lane), end in place.journal.state.index.ends.items()}
        number = next(iter(place.topics_by_number))
        scan = partial(LaneScan, place.reading, number)
        yield lambda seconds: spans_per_second(lambda: _hand_out(scan, ends), seconds)

    return Contender("messages decoded and wrapped as deliveries", ready)


def _hand_out(scan_of: Callable[[int], LaneScan], ends: dict[int, int]) -> tuple[int, float]:
    begin = time.perf_counter()
    done = size = 0
    scans = {lane: (scan_of(lane), str(lane)) for lane in ends}
    reached = dict.fromkeys(ends, 0)
    while reached != ends:
        for lane, (scan, name) in scans.items():
            first = reached[lane]
            messages, _, reached[lane] = scan.fetch(first, 500, 1 << 20)
            positions = list(map(Position, repeat(name), range(first, reached[lane])))
            for delivery in list(map(Delivery, messages, positions, positions, repeat(1))):
                size += len(delivery.message.body)
            done += len(messages)
    return done, time.perf_counter() - begin
