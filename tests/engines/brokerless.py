"""A door to a broker whose answers name no broker for a while, though they name topics: so does one that was taken for
dead, until it is one of the cluster again. It has but one way to each client, so a test needs no luck."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self

from evermq.drills.engines.engine import Door

METADATA = 3
FLEXIBLE = 9  # the version from which on lengths are written as they are read here; aiokafka asks for older ones
NOBODY = b"\x01", b"\xff\xff\xff\xff"  # no brokers, no controller


class Brokerless:
    """Before a door. told: how many answers named none."""

    def __init__(self, door: Door) -> None:
        self.is_on = False
        self.told = 0
        self._door = door
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._door.at, self._door.front)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(self._door.host, self._door.back)
        asked: dict[bytes, bool] = {}
        ways = (
            asyncio.create_task(_carry(reader, outer, lambda frame: _noted(frame, asked))),
            asyncio.create_task(_carry(inner, writer, lambda frame: self._answer(frame, asked))),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for each in (writer, outer):
                each.close()

    def _answer(self, frame: bytes, asked: dict[bytes, bool]) -> bytes:
        if not asked.pop(frame[:4], False) or not self.is_on:
            return frame
        self.told += 1
        return _without_brokers(frame)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            frame = change(await reader.readexactly(size))
            writer.write(len(frame).to_bytes(4, "big") + frame)
            await writer.drain()


def _noted(frame: bytes, asked: dict[bytes, bool]) -> bytes:
    """By correlation id, whether it asks for metadata as librdkafka does."""
    key, version = (int.from_bytes(frame[at : at + 2], "big") for at in (0, 2))
    asked[frame[4:8]] = key == METADATA and version >= FLEXIBLE
    return frame


def _without_brokers(frame: bytes) -> bytes:
    """https://kafka.apache.org/protocol, Metadata from version 9 on."""
    start = 4 + 1 + 4  # correlation id, no tags, throttle time
    at, count = start + 1, frame[start] - 1
    assert count < 100, "one byte tells how many"
    for _ in range(count):
        at += 4  # number
        at += max(1, frame[at])  # host
        at += 4  # port
        at += max(1, frame[at])  # rack
        assert frame[at] == 0, "no tags"
        at += 1
    nobody, no_controller = NOBODY
    cluster = frame[at : at + max(1, frame[at])]
    return frame[:start] + nobody + cluster + no_controller + frame[at + len(cluster) + 4 :]
