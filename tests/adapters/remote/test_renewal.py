"""A shared directory whose disk fails, and takes writes again."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.dying_disk import HookedDisk

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.owner import OwnerLock
from evermq.adapters.log.place import LogPlace
from evermq.adapters.open import open_log
from evermq.adapters.remote import renewal
from evermq.adapters.remote.renewal import Renewal
from evermq.adapters.remote.shared import SharedPlace
from evermq.adapters.remote.shared_queue import SharedQueue
from evermq.clock import SYSTEM
from evermq.errors import Closed, Unavailable, Uncertain
from evermq.message import Message, MessageFactory
from evermq.port import Place, Queue, Reader

make = MessageFactory()


class Disk:
    """Fails every write and flush while it is `failing`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.failing = False

    async def own(self) -> Place:
        owner = OwnerLock(self.directory)
        try:
            return LogPlace(HookedDisk(self.directory, self._hook), LogOptions(lanes=2), owner=owner)
        except BaseException:
            owner.release()
            raise

    def _hook(self, kind: str, half: Callable[[], None] | None) -> None:
        if self.failing and kind != "after":
            raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "log").mkdir()
    return Disk(tmp_path / "log")


@pytest.fixture
async def place(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SharedPlace]:
    monkeypatch.setattr(renewal, "_LOOK_MS", 5)
    place = await SharedPlace.open(disk.own, disk.directory / "socket")
    yield place
    disk.failing = False
    await place.close()


async def fail(disk: Disk, queue: Queue) -> Message:
    """Close the log by a write that fails; its message may be stored."""
    disk.failing = True
    uncertain = make("uncertain")
    with pytest.raises(Uncertain):
        await queue.append([uncertain])
    return uncertain


async def append(queue: Queue, messages: Sequence[Message]) -> None:
    """Until it is taken."""
    async with asyncio.timeout(30):
        while True:
            try:
                await queue.append(messages)
                return
            except Unavailable:
                await asyncio.sleep(0.005)


async def read(reader: Reader, ids: set[str]) -> list[str]:
    """Read until all of these have come, and acknowledge each read; returns whatever came."""
    found: list[str] = []
    async with asyncio.timeout(30):
        while not ids <= set(found):
            deliveries = await reader.read(count_max=3, wait_ms=100)
            found += [delivery.message.id for delivery in deliveries]
            await reader.ack(deliveries)
    return found


async def test_log_takes_appends_again_and_has_all_that_was_acknowledged(disk: Disk, place: SharedPlace) -> None:
    queue = await place.queue("orders")
    reader = await queue.reader("g")
    before, after = [[make(str(n), key="k") for n in range(20)] for _ in range(2)]
    await queue.append(before)
    held = await reader.read(count_max=5, wait_ms=0)
    uncertain = await fail(disk, queue)
    disk.failing = False
    await append(queue, after)
    await reader.ack(held)  # of before: they come again
    ids = [each.id for each in (*before, *after)]
    found = [id for id in await read(reader, set(ids)) if id != uncertain.id]
    assert found == ids
    assert await queue.backlog("g") == 0
    assert place.is_owner


async def test_what_is_stored_is_read_and_settled_while_the_disk_fails(disk: Disk, place: SharedPlace) -> None:
    """Opened anew at once, it could not be opened any more."""
    queue = await place.queue("orders")
    reader = await queue.reader("g")
    messages = [make(str(n)) for n in range(20)]
    await queue.append(messages)
    await fail(disk, queue)
    tried = place._place
    for _ in range(20):
        with pytest.raises(Unavailable, match="once the disk takes writes"):
            await queue.append([make("refused")])
        await asyncio.sleep(0.005)
    assert place._place is tried
    found: list[str] = []
    while deliveries := await reader.read(count_max=100, wait_ms=0):
        found += [delivery.message.id for delivery in deliveries]
    assert set(found) == {each.id for each in messages}
    disk.failing = False
    await append(queue, [make("taken")])


async def test_others_go_on_though_the_owner_itself_does_nothing(disk: Disk, place: SharedPlace) -> None:
    await place.queue("orders")
    guest = await open_log(disk.directory)
    queue = await guest.queue("orders")
    reader = await queue.reader("g")
    uncertain = await fail(disk, queue)
    disk.failing = False
    message = make("taken")
    await append(queue, [message])
    assert set(await read(reader, {message.id})) - {uncertain.id} == {message.id}
    await guest.close()


async def test_reader_that_waits_hears_of_what_is_appended_afterwards(disk: Disk, place: SharedPlace) -> None:
    queue = await place.queue("orders")
    reader = await queue.reader("g")
    waiting = asyncio.create_task(reader.read(count_max=10, wait_ms=600_000))
    await asyncio.sleep(0)
    uncertain = await fail(disk, queue)
    disk.failing = False
    message = make("taken")
    await append(queue, [message])
    async with asyncio.timeout(30):
        found = await waiting
        await reader.ack(found)
    if [each.message.id for each in found] == [uncertain.id]:
        found = await reader.read(count_max=10, wait_ms=10_000)
    assert message.id in [each.message.id for each in found]


async def test_code_without_asyncio_goes_on(disk: Disk, place: SharedPlace) -> None:
    queue = await place.queue("orders")
    assert isinstance(queue, SharedQueue)
    await fail(disk, queue)
    with pytest.raises(Unavailable):
        queue.append_blocking([make("refused")])
    disk.failing = False
    await append(queue, [make("taken")])
    await asyncio.to_thread(queue.append_blocking, [make("in a thread")])
    queue.append_blocking([make("in the loop")])


async def test_place_that_is_closed_meanwhile_stays_closed(disk: Disk, place: SharedPlace) -> None:
    queue = await place.queue("orders")
    reader = await queue.reader("g")
    await fail(disk, queue)
    disk.failing = False
    while not place._changing.locked():
        await asyncio.sleep(0)
    await place.close()
    with pytest.raises(Closed):
        await queue.append([make("refused")])
    with pytest.raises(Closed):
        await reader.read(count_max=1, wait_ms=0)
    following = await open_log(disk.directory)
    assert isinstance(following, SharedPlace)
    assert following.is_owner
    await following.close()


class HurriedClock:
    """Goes on by what somebody sleeps."""

    def __init__(self) -> None:
        self.at_ms = 0

    def monotonic_ms(self) -> int:
        return self.at_ms

    async def sleep(self, ms: float) -> None:
        self.at_ms += int(ms)
        await asyncio.sleep(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(SYSTEM, name)


class FailsAgain:
    """A place that fails at some time after it is opened, and whose disk takes what is tried."""

    def __init__(self, clock: HurriedClock, holds_ms: int) -> None:
        self._clock = clock
        self._until_ms = clock.at_ms + holds_ms

    @property
    def has_failed(self) -> bool:
        return self._clock.at_ms >= self._until_ms

    def takes_writes(self) -> bool:
        return True


async def test_log_that_fails_again_and_again_is_opened_more_and_more_seldom() -> None:
    clock = HurriedClock()
    times: list[int] = []
    done = asyncio.Event()

    async def renew(_: object) -> None:
        times.append(clock.at_ms)
        if len(times) < 14:
            watched.watch(FailsAgain(clock, 300_000 if len(times) == 11 else 0))  # type: ignore[arg-type]
        else:
            done.set()

    watched = Renewal(clock, renew)
    watched.watch(FailsAgain(clock, 0))  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        await done.wait()
    pauses = [(after - before) // 1_000 for before, after in pairwise(times)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 300, 1, 2]
