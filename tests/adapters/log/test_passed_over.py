"""What is damaged is passed over, and whoever reads is told of it once."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.segment import name_of
from evermq.adapters.open import open_log
from evermq.client import Consumer
from evermq.errors import Damaged
from evermq.ha.merged import Merged
from evermq.message import MessageFactory
from evermq.port import Delivery, Reader
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.message.body for delivery in deliveries]


async def log_in(directory: Path, *said: bytes, lanes: int = 1, groups: list[str] | None = None) -> None:
    place = await LogPlace.open(directory, lanes=lanes)
    await place.create("t", groups=groups or [])
    queue = await place.queue("t")
    for body in said:
        await queue.append([MessageFactory()(body)])
    await place.close()


def flip(directory: Path, body: bytes) -> None:
    """One bit of the only message with this body."""
    [path] = directory.glob("segment-*")
    whole = path.read_bytes()
    assert whole.count(body) == 1
    path.write_bytes(whole.replace(body, bytes([body[0] ^ 1]) + body[1:]))


async def read_on(reader: Reader) -> tuple[list[bytes], list[str]]:
    """To the end: bodies, and what was told."""
    found: list[bytes] = []
    told: list[str] = []
    while True:
        try:
            more = await reader.read(count_max=2, wait_ms=0)
        except Damaged as error:
            told.append(str(error))
            continue
        if not more:
            return found, told
        found += bodies(more)
        await reader.ack(more)


@pytest.mark.parametrize("hit", [b"one", b"two", b"three"])
@pytest.mark.parametrize("groups", [[], ["g"]])
async def test_reader_is_told_of_a_damaged_message_once_and_goes_on(
    tmp_path: Path, hit: bytes, groups: list[str]
) -> None:
    said = [b"one", b"two", b"three", b"four"]
    await log_in(tmp_path, *said, groups=groups)
    flip(tmp_path, hit)
    place = await LogPlace.open(tmp_path)
    found, told = await read_on(await (await place.queue("t")).reader("g"))
    assert found == [body for body in said if body != hit]
    [text] = told
    assert f"topic t are damaged and were passed over: lane 0 offset {said.index(hit)} ({name_of(1)}, " in text
    assert f"evermq verify {tmp_path}" in text
    await place.close()
    place = await LogPlace.open(tmp_path)
    assert await read_on(await (await place.queue("t")).reader("g")) == ([], [])
    await place.close()


async def test_reader_through_the_socket_is_told_as_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await log_in(tmp_path, b"one", b"two", b"three")
    flip(tmp_path, b"two")
    owner = await open_log(tmp_path)
    guest = await open_log(tmp_path)
    first, second = (record.message for record in caplog.records)
    assert "segment 1: " in first
    assert f"owned by process {os.getpid()}: segment 1: " in second
    reader = await (await guest.queue("t")).reader("g")
    found, told = await read_on(reader)
    assert (found, len(told)) == ([b"one", b"three"], 1)
    await reader.close()
    await guest.close()
    await owner.close()


async def test_group_that_begins_behind_the_damage_hears_nothing_of_it(tmp_path: Path) -> None:
    await log_in(tmp_path, b"one", b"two", b"three", groups=["new"])
    place = await LogPlace.open(tmp_path)
    reader = await (await place.queue("t")).reader("g")
    await reader.ack(await reader.read(count_max=2, wait_ms=0))
    await place.close()
    flip(tmp_path, b"one")
    place = await LogPlace.open(tmp_path)
    assert await read_on(await (await place.queue("t")).reader("g")) == ([b"three"], [])
    await place.close()


async def test_message_that_was_handed_out_and_is_damaged_now_is_told(tmp_path: Path) -> None:
    await log_in(tmp_path, b"one", b"two", b"three")
    place = await LogPlace.open(tmp_path)
    reader = await (await place.queue("t")).reader("g")
    assert len(await reader.read(count_max=3, wait_ms=0)) == 3
    await place.close()
    flip(tmp_path, b"two")
    place = await LogPlace.open(tmp_path)
    found, told = await read_on(await (await place.queue("t")).reader("g"))
    assert (found, len(told)) == ([b"one", b"three"], 1)
    await place.close()


async def test_what_was_taken_with_the_damage_goes_back_with_its_key(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path, lanes=1)
    await place.create("t", groups=["g"])
    queue = await place.queue("t")
    for body, key in ((b"one", "j"), (b"two", "k"), (b"three", "k"), (b"four", "j")):
        await queue.append([MessageFactory()(body, key=key)])
    await place.close()
    flip(tmp_path, b"one")
    place = await LogPlace.open(tmp_path)
    reader = await (await place.queue("t")).reader("g")
    with pytest.raises(Damaged):
        await reader.read(count_max=9, wait_ms=0)
    second = await reader.read(count_max=1, wait_ms=0)
    assert bodies(second) == [b"two"]
    await reader.release(second, delay_ms=60_000)
    assert bodies(await reader.read(count_max=9, wait_ms=0)) == [b"four"]
    await place.close()


async def test_what_was_taken_with_the_damage_comes_again_if_the_reader_goes(tmp_path: Path) -> None:
    await log_in(tmp_path, b"one", b"two", b"three")
    flip(tmp_path, b"two")
    place = await LogPlace.open(tmp_path)
    queue = await place.queue("t")
    reader = await queue.reader("g")
    with pytest.raises(Damaged):
        await reader.read(count_max=9, wait_ms=0)
    await reader.close()
    assert await read_on(await queue.reader("g")) == ([b"one", b"three"], [])
    await place.close()


def test_damage_in_a_sealed_segment_is_told_when_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: SimulatedClock) -> None:
        disk, make = FakeDisk(), MessageFactory(clock)
        options = LogOptions(lanes=1, segment_bytes=4096)
        place = LogPlace(disk, options, clock=clock, threaded=False)
        queue = await place.queue("t")
        said = [b"%03d" % i + b"x" * 300 for i in range(30)]
        for body in said:
            await queue.append([make(body)])
        assert len(place.journal.segments) > 2
        await place.close()
        content = disk.open(name_of(1)).pread(4096, 0)
        disk.damage(name_of(1), content.replace(said[3], said[3].upper()))
        place = LogPlace(disk, options, clock=clock, threaded=False)
        assert not place.damages
        found, told = await read_on(await (await place.queue("t")).reader("g"))
        assert found == said[:3] + said[4:]
        assert len(told) == 1
        assert "lane 0 offset 3 (" in told[0]
        found, told = await read_on(await (await place.queue("t")).reader("another"))
        assert (len(found), len(told)) == (29, 1)

    with caplog.at_level(logging.WARNING, "evermq.log"):
        simulate(1, main)
    assert [record.message for record in caplog.records if "segment 1: " in record.message] == [
        record.message for record in caplog.records
    ]
    assert len(caplog.records) == 1


def test_what_unread_drop_took_is_no_damage() -> None:
    async def main(clock: SimulatedClock) -> None:
        make = MessageFactory(clock)
        options = LogOptions(lanes=1, segment_bytes=4096, bytes_max=8192, unread="drop")
        place = LogPlace(FakeDisk(), options, clock=clock, threaded=False)
        queue = await place.queue("t")
        reader = await queue.reader("g")
        for _ in range(60):
            await queue.append([make(b"x" * 300)])
            place.tidy()
        found, told = await read_on(reader)
        assert 0 < len(found) < 60
        assert not told

    simulate(1, main)


async def test_every_damage_is_logged_when_the_log_is_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await log_in(tmp_path, b"one", b"two", b"three")
    flip(tmp_path, b"two")
    place = await LogPlace.open(tmp_path)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("evermq.log", logging.WARNING)
    assert f"{tmp_path}: segment 1: " in record.message
    await place.close()


async def test_consumer_logs_it_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await log_in(tmp_path, b"one", b"two", b"three")
    flip(tmp_path, b"two")
    place = await open_log(tmp_path)
    errors: list[BaseException] = []
    consumer = Consumer(await place.queue("t"), "g", on_error=errors.append)
    async with consumer:
        found: list[bytes] = []
        async for delivery in consumer:
            found.append(delivery.message.body)
            if len(found) == 2:
                break
    assert found == [b"one", b"three"]
    assert [type(error) for error in errors] == [Damaged]
    assert [record.name for record in caplog.records] == ["evermq.log", "evermq.consumer"]
    await place.close()


async def test_merged_reader_tells_it_once_and_reads_its_other_children(tmp_path: Path) -> None:
    queues: dict[str, Any] = {}
    for key in ("a", "b"):
        await log_in(tmp_path / key, b"one", b"two", b"three")
    flip(tmp_path / "a", b"two")
    places = {key: await LogPlace.open(tmp_path / key) for key in ("a", "b")}
    queues = {key: await place.queue("t") for key, place in places.items()}
    reader = await Merged.open(queues, "g")
    found: list[bytes] = []
    told = 0
    while len(found) < 5 or not told:
        try:
            found += bodies(await reader.read(count_max=9, wait_ms=1_000))
        except Damaged:
            told += 1
    assert sorted(found) == [b"one", b"one", b"three", b"three", b"two"]
    assert told == 1
    assert not await reader.read(count_max=9, wait_ms=10)
    await reader.close()
    for place in places.values():
        await place.close()
