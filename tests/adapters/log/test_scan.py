"""A lane is read in its order, whatever lies between its messages, and what lies between is not read for it."""

import asyncio
import random
from itertools import chain
from pathlib import Path

import pytest

from evermq.adapters.log.frame import Kind
from evermq.adapters.log.index import Location
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.reading import LaneScan, Reading
from evermq.adapters.log.segment import HEADER_BYTES, Segment
from evermq.message import Message, MessageFactory

make = MessageFactory()


async def stored(place: LogPlace, seed: int) -> dict[int, list[Message]]:
    """What lies in each lane of `orders`: batches of many sizes, so that groups have several of one lane."""
    chance = random.Random(seed)
    queue = await place.queue("orders")
    lanes: dict[int, dict[int, Message]] = {}

    async def append() -> None:
        size = chance.choice([1, 10, 3_000])
        key = chance.choice([None, b"a", b"b"])
        batch = [make(bytes(size), key=key) for _ in range(chance.choice([1, 2, 64, 100]))]
        for message, position in zip(batch, await queue.append(batch), strict=True):
            lanes.setdefault(int(position.lane), {})[position.offset or 0] = message

    for _ in range(15):
        await asyncio.gather(*(append() for _ in range(chance.choice([1, 4, 12]))))
    return {lane: [found[offset] for offset in range(len(found))] for lane, found in lanes.items()}


@pytest.mark.parametrize("seed", range(6))
async def test_lane_is_found_whole_however_much_is_fetched_at_a_time(tmp_path: Path, seed: int) -> None:
    place = await LogPlace.open(tmp_path, lanes=1 + seed % 4, segment_bytes=1 << 20)
    chance = random.Random(seed)
    for lane, messages in (await stored(place, seed)).items():
        scan = LaneScan(place.reading, 1, lane)
        found: list[Message] = []
        while len(found) < len(messages):
            some, ranges, following = scan.fetch(
                len(found), chance.choice([1, 64, 100, 500]), chance.choice([0, 9_000])
            )
            assert some
            assert [*chain.from_iterable(ranges)] == [*range(len(found), following)]
            found += some
        assert found == messages
        assert scan.fetch(len(found), 1) == ([], [], len(found))
    await place.close()


async def test_batch_that_fills_a_fetch_does_not_hide_the_next_one_of_its_group(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path, lanes=1)
    queue = await place.queue("orders")
    await asyncio.gather(*(queue.append([make(b"x") for _ in range(64)]) for _ in range(3)))
    scan = LaneScan(place.reading, 1, 0)
    assert [scan.fetch(first, 64)[2] for first in (0, 64, 128)] == [64, 128, 192]
    await place.close()


async def test_frames_of_other_lanes_are_not_read_for_a_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await LogPlace.open(tmp_path, lanes=16)
    queue = await place.queue("orders")
    for _ in range(64):
        await queue.append([make(bytes(1_000)) for _ in range(100)])
    read: list[int] = []
    frame = Reading._frame

    def counted(reading: Reading, segment: Segment, position: int) -> object:
        read.append(position)
        return frame(reading, segment, position)

    monkeypatch.setattr(Reading, "_frame", counted)
    scan = LaneScan(place.reading, 1, 5)
    assert [scan.fetch(first, 100)[2] for first in (0, 100, 200, 300)] == [100, 200, 300, 400]
    assert len(read) == 4
    await place.close()


async def test_lane_that_was_read_to_its_end_goes_on_where_more_comes(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path, lanes=2)
    queue = await place.queue("orders")
    scan = LaneScan(place.reading, 1, 1)
    offset = 0
    for count in (3, 1, 64):
        batches = [[make(b"x") for _ in range(count)] for _ in range(2)]
        lanes = [(await queue.append(batch))[0].lane for batch in batches]
        assert sorted(lanes) == ["0", "1"]
        messages, _, offset = scan.fetch(offset, 100)
        assert messages == batches[lanes.index("1")]
        assert scan.fetch(offset, 100) == ([], [], offset)
    await place.close()


@pytest.mark.parametrize("lanes", [1, 16])
async def test_reader_that_keeps_up_does_not_begin_further_back_each_time(
    tmp_path: Path, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await LogPlace.open(tmp_path, lanes=lanes)
    queue = await place.queue("orders")
    scans = [LaneScan(place.reading, 1, lane) for lane in range(lanes)]
    read: list[Location] = []
    frame = Reading.frame

    def counted(reading: Reading, at: Location) -> object:
        read.append(at)
        return frame(reading, at)

    monkeypatch.setattr(Reading, "frame", counted)
    for number in range(320):
        [position] = await queue.append([make(b"x")])
        assert position.offset is not None
        messages, _, _ = scans[int(position.lane)].fetch(position.offset, 100)
        assert len(messages) == 1
        assert len(read) <= 2 * lanes, number
        read.clear()
    await place.close()


async def test_pass_through_the_log_pushes_out_nothing_that_readers_share(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path, lanes=2)
    queue = await place.queue("orders")
    for size in (100, 10_000):
        for _ in range(1_000):
            await queue.append([make(bytes(size))])
    begin = Location(place.journal.segments[0].number, HEADER_BYTES)
    first = place.reading.frame(begin)
    assert first
    frames = list(place.reading.frames(begin))
    assert place.reading.frame(begin) is first
    assert (
        sum(entry.message_count for frame in frames for entry in frame.entries if entry.kind == Kind.MESSAGES) == 2_000
    )
    places = [(frame.segment, frame.position) for frame in frames]
    assert places == sorted(set(places))
    await place.close()
