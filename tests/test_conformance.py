"""Every kind of queue keeps what the port promises. A new kind is one more line in SUBJECTS.

A kind that is made by a call needs `made("name", lambda topic: MyQueue(...))`; one that connects, or that can be
opened again, needs a function like `log`.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evermq.adapters.log.place import LogPlace
from evermq.adapters.memory import MemoryPlace, MemoryQueue
from evermq.adapters.open import open_log
from evermq.adapters.remote.client import RemotePlace
from evermq.adapters.remote.server import Server
from evermq.ha.failover import Failover
from evermq.ha.route import Route
from evermq.port import Queue
from evermq.testing.conformance import Case, Opened, Subject, cases, declared
from evermq.testing.faulty import Faulty


@asynccontextmanager
async def memory(topic: str) -> AsyncIterator[Opened]:
    """Topics in memory; opened again, the place is still there."""
    place = MemoryPlace()
    opened = Opened(await place.queue(topic), place=place)

    async def reopen() -> Queue:
        await opened.queue.close()
        opened.queue = await place.queue(topic)
        return opened.queue

    opened.reopen = reopen
    yield opened
    await place.close()


@asynccontextmanager
async def log(topic: str) -> AsyncIterator[Opened]:
    """A directory of the embedded log; opened again, the place is a new one."""
    with tempfile.TemporaryDirectory() as directory:
        place = await LogPlace.open(directory, segment_bytes=4 << 20)
        opened = Opened(await place.queue(topic), place=place)

        async def reopen() -> Queue:
            assert opened.place
            await opened.place.close()
            opened.place = place = await LogPlace.open(directory, segment_bytes=4 << 20)
            opened.queue = await place.queue(topic)
            return opened.queue

        opened.reopen = reopen
        yield opened
        assert opened.place
        await opened.place.close()


@asynccontextmanager
async def door(topic: str) -> AsyncIterator[Opened]:
    """The embedded log of another owner, through its socket."""
    with tempfile.TemporaryDirectory() as directory:
        place = await LogPlace.open(directory, segment_bytes=4 << 20)
        path = Path(directory) / "socket"
        server = await Server.start(place, path)
        client = await RemotePlace.connect(path)
        yield Opened(await client.queue(topic), place=client)
        await client.close()
        await server.close()
        await place.close()


@asynccontextmanager
async def shared(topic: str) -> AsyncIterator[Opened]:
    """A directory of the embedded log as its owner and second user see it; opened again, by a third."""
    with tempfile.TemporaryDirectory() as directory:
        owner = await open_log(directory, segment_bytes=4 << 20)
        second = await open_log(directory, segment_bytes=4 << 20)
        opened = Opened(await second.queue(topic), place=second)

        async def reopen() -> Queue:
            assert opened.place
            await opened.place.close()
            opened.place = await open_log(directory, segment_bytes=4 << 20)
            opened.queue = await opened.place.queue(topic)
            return opened.queue

        opened.reopen = reopen
        yield opened
        assert opened.place
        await opened.place.close()
        await owner.close()


def made(name: str, make: Callable[[str], Queue]) -> Subject:
    """A queue that is made by a call."""

    @asynccontextmanager
    async def open_(topic: str) -> AsyncIterator[Opened]:
        queue = make(topic)
        yield Opened(queue)
        await queue.close()

    return Subject(name, open_, declared(open_))


def failover(topic: str) -> Failover:
    return Failover(primary=MemoryQueue(topic), standby=MemoryQueue(topic))


SUBJECTS = [
    Subject("memory", memory, declared(memory), reopens=True, places=True),
    Subject("log", log, declared(log), reopens=True, places=True),
    Subject("socket-door", door, declared(door), places=True),
    Subject("shared-log", shared, declared(shared), reopens=True, places=True),
    made("faulty", lambda topic: Faulty(MemoryQueue(topic))),
    made("route", lambda topic: Route({"a": MemoryQueue(topic), "b": MemoryQueue(topic)})),
    made("failover", lambda topic: Failover(primary=MemoryQueue(topic), standby=MemoryQueue(topic))),
    made("route-of-failover", lambda topic: Route({"a": failover(topic), "b": MemoryQueue(topic)})),
]


@pytest.mark.parametrize("case", cases(SUBJECTS), ids=str)
async def test_conformance(case: Case) -> None:
    await case.run()
