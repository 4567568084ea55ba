"""A disk of 8 MiB that another process fills: refusals that say so, no false acknowledgement, and it goes on later."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.loop_disk import why_not
from tests.e2e.rig import ROOT, needs

from evermq.adapters.log.place import LogPlace
from evermq.errors import Overloaded
from evermq.message import Message, MessageFactory
from evermq.port import Delivery, Queue

SEGMENT_BYTES = 256 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    needs(why_not())
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount_point)], check=True)
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


class Neighbour:
    """Fills the disk and frees it again, from a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def fill(self) -> None:
        self._do("fill")

    def free(self) -> None:
        self._do("free")

    def _do(self, what: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def neighbour(disk: Path) -> Iterator[Neighbour]:
    command = [sys.executable, "-m", "tests.e2e.filler", str(disk / "filler")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Neighbour(process)
        assert process.stdin
        process.stdin.close()


async def open_place(disk: Path) -> LogPlace:
    return await LogPlace.open(disk / "log", segment_bytes=SEGMENT_BYTES, lanes=2, interval_ms=10)


@pytest.fixture
async def place(small_disk: Path) -> AsyncIterator[LogPlace]:
    opened = await open_place(small_disk)
    yield opened
    await opened.close()


async def append_until_refused(queue: Queue, make: MessageFactory) -> tuple[list[str], list[str]]:
    """The ids that were acknowledged, and those that were refused."""
    taken: list[str] = []
    for _ in range(500):
        batch = [make(bytes(3_000), key=f"k{i}") for i in range(10)]
        try:
            await queue.append(batch)
        except Overloaded as error:
            if "free space" not in str(error):
                raise
            return taken, [message.id for message in batch]
        taken += [message.id for message in batch]
    raise AssertionError("the disk never was full")


async def read_all(queue: Queue, group: str) -> list[Delivery]:
    reader = await queue.reader(group)
    found: list[Delivery] = []
    while more := await reader.read(count_max=500, wait_ms=0):
        await reader.ack(more)
        found += more
    await reader.close()
    return found


async def append_within_two_seconds(place: LogPlace, queue: Queue, batch: Sequence[Message]) -> None:
    until_ms = place.clock.monotonic_ms() + 2_000
    while True:
        try:
            await queue.append(batch)
            return
        except Overloaded:
            if place.clock.monotonic_ms() > until_ms:
                raise
            await place.clock.sleep(20)


async def test_disk_filled_and_freed_20_times_refuses_honestly_and_goes_on(small_disk: Path) -> None:
    make = MessageFactory()
    acknowledged: set[str] = set()
    refused: set[str] = set()
    seen: list[str] = []
    place = await open_place(small_disk)
    queue = await place.queue("orders")
    with neighbour(small_disk) as other:
        for _ in range(20):
            other.fill()
            taken, not_taken = await append_until_refused(queue, make)
            acknowledged.update(taken)
            refused.update(not_taken)
            seen += [delivery.message.id for delivery in await read_all(queue, "g")]
            other.free()
            batch = [make(b"there is room again")]
            await append_within_two_seconds(place, queue, batch)
            acknowledged.add(batch[0].id)
    await place.close()
    place = await open_place(small_disk)
    seen += [delivery.message.id for delivery in await read_all(await place.queue("orders"), "g")]
    await place.close()
    assert len(refused) >= 200
    assert sorted(seen) == sorted(acknowledged), "lost, doubled or never acknowledged"


async def test_acknowledgements_and_groups_and_close_need_no_free_space(small_disk: Path) -> None:
    make = MessageFactory()
    place = await open_place(small_disk)
    queue = await place.queue("orders")
    sent: set[str] = set()
    for _ in range(40):
        batch = [make(bytes(2_000)) for _ in range(20)]
        await queue.append(batch)
        sent.update(message.id for message in batch)
    with neighbour(small_disk) as other:
        other.fill()
        taken, _ = await append_until_refused(queue, make)
        reader = await queue.reader("made-on-a-full-disk")
        settled: list[str] = []
        while found := await reader.read(count_max=1, wait_ms=0):
            other.fill() if len(settled) % 50 == 0 else None
            await reader.ack(found)
            settled.append(found[0].message.id)
        await place.create("another-topic", groups=["g"])
        await place.close()
        other.fill()
        place = await open_place(small_disk)
        assert set(settled) == sent | set(taken)
        assert await place.topics() == ["another-topic", "orders"]
        assert await (await place.queue("orders")).backlog("made-on-a-full-disk") == 0
        await place.close()
        other.free()


async def test_what_is_settled_makes_room_on_a_full_disk(small_disk: Path, place: LogPlace) -> None:
    make = MessageFactory()
    queue = await place.queue("orders")
    with neighbour(small_disk) as other:
        for _ in range(30):
            await queue.append([make(bytes(3_000)) for _ in range(10)])
        other.fill()
        await append_until_refused(queue, make)
        await read_all(queue, "g")
        # Nothing was freed by anybody, but every message so far is settled.
        for _ in range(50):
            await append_within_two_seconds(place, queue, [make(bytes(3_000)) for _ in range(10)])
            await read_all(queue, "g")


async def test_ballast_grows_back_before_a_new_segment_is_made(small_disk: Path, place: LogPlace) -> None:
    make = MessageFactory()
    queue = await place.queue("orders")
    size = place.ballast.size
    assert 0 < size <= (8 << 20) // 20
    with neighbour(small_disk) as other:
        other.fill()
        number = 0
        while place.ballast.held == size and number < 100:
            await place.create(f"topic-{number}")
            number += 1
        assert place.ballast.held < size
        assert number < 100
        await append_until_refused(queue, make)
        other.free()
        place.journal.spares.make()
        assert place.ballast.held == size
