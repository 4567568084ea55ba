"""Every kind of queue keeps what the port promises. A new kind is one more line in SUBJECTS."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from evermq.adapters.log.place import LogPlace
from evermq.adapters.memory import MemoryPlace
from evermq.port import Queue
from evermq.testing.conformance import Case, Opened, Subject, cases, declared


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


SUBJECTS = [
    Subject("memory", memory, declared(memory), reopens=True, places=True),
    Subject("log", log, declared(log), reopens=True, places=True),
]


@pytest.mark.parametrize("case", cases(SUBJECTS), ids=str)
async def test_conformance(case: Case) -> None:
    await case.run()
