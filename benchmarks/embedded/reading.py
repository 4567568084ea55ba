"""Reading a log that is in the page cache: whole groups, and message by message with acknowledgements."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from embedded.messages import body_batches
from embedded.stores import connect
from embedded.workbench import Workbench
from evermq.adapters.log.frame import Frame
from evermq.adapters.log.index import Location
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.segment import HEADER_BYTES, STORED, name_of
from rig.contender import Contender, Measure
from rig.pace import per_second, spans_per_second

__all__ = ["consumer", "group_reader", "groups_of", "plain_read", "sqlite_consumer"]

_READ_COUNT = 500
_ROWS = 32_000
_OLDEST = "SELECT number, body FROM messages ORDER BY number LIMIT ?"
Group = tuple[int, int, int]


def group_reader(bench: Workbench) -> Contender:
    """Frame by frame with its checksum verified, as everything that reads the log does first."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        place = bench.stocked()
        yield lambda seconds: spans_per_second(partial(_read_groups, place), seconds)

    return Contender("frames of the log, checksums verified", ready)


def _read_groups(place: LogPlace) -> tuple[int, float]:
    begin = time.perf_counter()
    done = 0
    for frame in _frames(place):
        for entry in frame.entries:
            if entry.kind in STORED:
                done += entry.message_count
    return done, time.perf_counter() - begin


def _frames(place: LogPlace) -> Iterator[Frame]:
    return place.reading.frames(Location(place.journal.segments[0].number, HEADER_BYTES))


def plain_read(bench: Workbench) -> Contender:
    """`os.pread` of the same groups from the same files, nothing looked at."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        with groups_of(bench) as (messages, groups):
            yield lambda seconds: messages * per_second(_read_all, [groups], seconds)

    return Contender("os.pread of the same groups", ready)


@contextmanager
def groups_of(bench: Workbench) -> Iterator[tuple[int, list[Group]]]:
    """How many messages the stocked log holds, and where its groups lie, as arguments of `os.pread`."""
    place = bench.stocked()
    messages = _read_groups(place)[0]
    with ExitStack() as stack:
        yield messages, list(_places_of(place, bench.directory / "stocked", stack))


def _places_of(place: LogPlace, directory: Path, stack: ExitStack) -> Iterator[Group]:
    fds: dict[int, int] = {}
    for frame in _frames(place):
        if frame.segment not in fds:
            fds[frame.segment] = os.open(directory / name_of(frame.segment), os.O_RDONLY)
            stack.callback(os.close, fds[frame.segment])
        yield fds[frame.segment], frame.length, frame.position


def _read_all(groups: list[Group]) -> None:
    for group in groups:
        os.pread(*group)


def consumer(bench: Workbench) -> Contender:
    """A new group reads everything, 500 at a time, and acknowledges every delivery."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        place = bench.stocked()
        names = count(1)

        async def consume() -> tuple[int, float]:
            return await _consume(await place.queue("orders"), f"billing-{next(names)}")

        with asyncio.Runner() as runner:
            yield lambda seconds: spans_per_second(lambda: runner.run(consume()), seconds)

    return Contender(f"read and ack, {_READ_COUNT} at a time", ready)


async def _consume(queue: LogQueue, group: str) -> tuple[int, float]:
    reader = await queue.reader(group)
    begin = time.perf_counter()
    done = size = 0
    while deliveries := await reader.read(count_max=_READ_COUNT, wait_ms=0):
        for delivery in deliveries:
            size += len(delivery.message.body)
        done += len(deliveries)
        await reader.ack(deliveries)
    took = time.perf_counter() - begin
    await reader.close()
    await queue.close()
    return done, took


def sqlite_consumer(bench: Workbench, size: int) -> Contender:
    """The oldest 500 rows, then they are deleted, one transaction a batch. synchronous=NORMAL, since a reader's
    acknowledgements promise no more with us: they outlive the process at once, a power cut after `interval_ms`."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        path = bench.path("sqlite") / "queue.db"
        with closing(connect(str(path), page_bytes=16384)) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            rows = [(body,) for batch in body_batches(256, size) for body in batch]
            yield lambda seconds: spans_per_second(partial(_select_and_delete, connection, rows), seconds)

    return Contender(f"SQLite, SELECT and DELETE of {_READ_COUNT}, WAL, synchronous=NORMAL", ready)


def _select_and_delete(connection: sqlite3.Connection, rows: list[tuple[bytes]]) -> tuple[int, float]:
    connection.execute("BEGIN")
    for _ in range(_ROWS // len(rows) + 1):
        connection.executemany("INSERT INTO messages (body) VALUES (?)", rows)
    connection.execute("COMMIT")
    begin = time.perf_counter()
    done = size = 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute(
            "SELECT number, body FROM messages ORDER BY number LIMIT ?", (_READ_COUNT,)
        ).fetchall()
        for _, body in found:
            size += len(body)
        if found:
            connection.execute("DELETE FROM messages WHERE number <= ?", (found[-1][0],))
        connection.execute("COMMIT")
        if not found:
            return done, time.perf_counter() - begin
        done += len(found)
