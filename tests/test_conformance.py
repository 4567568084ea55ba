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
from tests.needed import memory_disk

from evermq.adapters.log.place import LogPlace
from evermq.adapters.memory import MemoryPlace, MemoryQueue
from evermq.adapters.open import open_log
from evermq.adapters.remote.client import RemotePlace
from evermq.adapters.remote.server import Server
from evermq.ha.buffered import Buffered
from evermq.ha.failover import Failover
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.policy.deduped import Deduped
from evermq.policy.ordered import Ordered
from evermq.port import Queue
from evermq.progress.memory import MemoryProgress
from evermq.slot import Slot
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
    with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
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
async def log_of_loop(topic: str) -> AsyncIterator[Opened]:
    """The same, written by the event loop."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
        place = await LogPlace.open(directory, segment_bytes=4 << 20, writer="loop")
        yield Opened(await place.queue(topic), place=place)
        await place.close()


@asynccontextmanager
async def door(topic: str) -> AsyncIterator[Opened]:
    """The embedded log of another owner, through its socket."""
    with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
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
    with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
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


PATIENT_MS = 30_000  # a busy machine must not look like a slow rung, which makes doubles
Make = Callable[[str], Queue]


def made(name: str, make: Make) -> Subject:
    """A queue that is made by a call, and started where it has a pump."""

    @asynccontextmanager
    async def open_(topic: str) -> AsyncIterator[Opened]:
        queue = make(topic)
        for each in pumped(queue):
            await each.start()
        yield Opened(queue)
        await queue.close()

    return Subject(name, open_, declared(open_))


def pumped(queue: Queue) -> list[Spooled]:
    """All queues with a pump in a tree, from the outermost on."""
    inner = list(queue._children.values()) if isinstance(queue, Route) else []
    if isinstance(queue, Spooled):
        inner = [queue._local, queue._remote]
    return [*([queue] if isinstance(queue, Spooled) else []), *(each for child in inner for each in pumped(child))]


def failover(primary: Make = MemoryQueue, standby: Make = MemoryQueue) -> Make:
    return lambda topic: Failover(primary=primary(topic), standby=standby(topic), append_ms_max=PATIENT_MS)


def spooled(local: Make = MemoryQueue, remote: Make = MemoryQueue) -> Make:
    return lambda topic: Spooled(local=local(topic), remote=remote(topic))


def buffered(local: Make = MemoryQueue, remote: Make = MemoryQueue) -> Make:
    return lambda topic: Buffered(local=local(topic), remote=remote(topic), slow_ms=PATIENT_MS)


def route(a: Make = MemoryQueue, b: Make = MemoryQueue) -> Make:
    return lambda topic: Route({"a": a(topic), "b": b(topic)}, append_ms_max=PATIENT_MS)


async def in_memory() -> Slot:
    return Memory()


class Memory:
    """A slot whose memory nobody needs to outlive its process."""

    name, incarnation, is_empty, is_named = "memory", 1, True, False

    def memory(self, size_bytes: int) -> memoryview:
        return memoryview(bytearray(size_bytes))


def numbered(kind: type[Ordered]) -> Make:
    def make(topic: str) -> Queue:
        rungs: dict[str, Queue] = {"primary": MemoryQueue(topic), "standby": MemoryQueue(topic)}
        ladder = Failover(primary=rungs["primary"], standby=rungs["standby"], append_ms_max=PATIENT_MS)
        return kind(ladder, slot=in_memory, progress=MemoryProgress(), rungs=rungs, lanes=24)

    return make


def on_logs(name: str, techniques: Callable[..., Queue], *keys: str) -> Subject:
    """A technique over logs under these keys, each a directory of its own; memory under the others."""

    @asynccontextmanager
    async def open_(topic: str) -> AsyncIterator[Opened]:
        with tempfile.TemporaryDirectory(dir=memory_disk()) as directory:
            places = {key: await LogPlace.open(Path(directory) / key, segment_bytes=4 << 20) for key in keys}
            children = {key: await place.queue(topic) for key, place in places.items()}
            queue = techniques(topic, **children)
            for each in pumped(queue):
                await each.start()
            yield Opened(queue)
            await queue.close()
            for place in places.values():
                await place.close()

    return Subject(name, open_, declared(open_))


SUBJECTS = [
    Subject("memory", memory, declared(memory), reopens=True, places=True),
    Subject("log", log, declared(log), reopens=True, places=True),
    Subject("log-of-loop", log_of_loop, declared(log_of_loop), places=True),
    Subject("socket-door", door, declared(door), places=True),
    Subject("shared-log", shared, declared(shared), reopens=True, places=True),
    made("faulty", lambda topic: Faulty(MemoryQueue(topic))),
    made("route-of-one", lambda topic: Route({"a": MemoryQueue(topic)})),
    made("route", route()),
    made("failover", failover()),
    made("ordered", numbered(Ordered)),
    made("deduped", numbered(Deduped)),
    made("spooled", spooled()),
    made("buffered", buffered()),
    made("route-of-route", route(route(), route())),
    made("route-of-failover", route(failover())),
    made("route-of-spooled", route(spooled(), spooled())),
    made("route-of-buffered", route(buffered())),
    made("failover-of-route", failover(route())),
    made("failover-of-failover", failover(failover(), failover())),
    made("failover-of-spooled", failover(spooled())),
    made("failover-on-spooled", failover(MemoryQueue, spooled())),
    made("failover-of-buffered", failover(buffered())),
    made("spooled-over-failover", spooled(remote=failover())),
    made("spooled-over-route", spooled(remote=route())),
    made("spooled-over-spooled", spooled(remote=spooled())),
    made("spooled-over-buffered", spooled(remote=buffered())),
    made("spooled-from-route", spooled(local=route())),
    made("spooled-from-failover", spooled(local=failover())),
    made("spooled-from-spooled", spooled(local=spooled())),
    made("spooled-from-buffered", spooled(local=buffered())),
    made("buffered-over-failover", buffered(remote=failover())),
    made("buffered-over-route", buffered(remote=route())),
    made("buffered-over-spooled", buffered(remote=spooled())),
    made("buffered-over-buffered", buffered(remote=buffered())),
    made("buffered-from-route", buffered(local=route())),
    made("buffered-from-failover", buffered(local=failover())),
    made("buffered-from-spooled", buffered(local=spooled())),
    made("buffered-from-buffered", buffered(local=buffered())),
    on_logs("failover-log-memory", lambda t, primary: failover(lambda _: primary)(t), "primary"),
    on_logs("spooled-log-memory", lambda t, local: Spooled(local=local, remote=MemoryQueue(t)), "local"),
    on_logs("spooled-logs", lambda t, local, remote: Spooled(local=local, remote=remote), "local", "remote"),
    on_logs("buffered-log-memory", lambda t, local: buffered(lambda _: local)(t), "local"),
    on_logs(
        "buffered-log-failover",
        lambda t, local, primary: buffered(lambda _: local, failover(lambda _: primary))(t),
        "local",
        "primary",
    ),
]


@pytest.mark.parametrize("case", cases(SUBJECTS), ids=str)
async def test_conformance(case: Case) -> None:
    await case.run()
