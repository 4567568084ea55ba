"""A message that goes alone is written by a way of its own, and the log is the same as by the way of a group."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from evermq.adapters.log import committer
from evermq.adapters.log.frame import Kind, Piece
from evermq.adapters.log.housekeeper import Housekeeper
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.topic import Topic
from evermq.clock import SystemClock
from evermq.errors import Rejected, TooLarge
from evermq.message import DELIVER_AT, Message, MessageFactory

KIB = 1 << 10
HOUR_MS = 3_600_000
_HANGS_S = 20  # nobody waits so long who is not forgotten
make = MessageFactory()

Way = Callable[[LogQueue, Message], Awaitable[Sequence[Any]]]


class Stopped(SystemClock):
    """Goes on when it is told to, so that two logs have the same times."""

    def __init__(self) -> None:
        self.time_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_ms(self) -> int:
        return self.time_ms


async def by_a_thread(queue: LogQueue, message: Message) -> Sequence[Any]:
    return queue.append_blocking([message])


async def by_a_loop(queue: LogQueue, message: Message) -> Sequence[Any]:
    return await queue.append([message])


def messages(chance: random.Random, count: int, now_ms: int) -> Iterator[Message]:
    """Of all sorts: with what is around the size that goes as one buffer, what has to wait, and what is none."""
    header = ["", "x" * 40, "x" * 60 * KIB, "x" * 100 * KIB]
    for number in range(count):
        size = chance.choice([0, 10, 1000, 3000, 64 * KIB - chance.randrange(40, 200), chance.randrange(60, 70) * KIB])
        made = Message(
            f"id-{number}",
            chance.choice([None, b"", b"key-%d" % chance.randrange(20)]),
            chance.randbytes(size),
            chance.choice([{}, {"note": chance.choice(header)}, {DELIVER_AT: str(now_ms + chance.randrange(-5, 500))}]),
            now_ms,
        )
        bad: list[dict[str, Any]] = [{"id": "a\0b"}, {"headers": {"a": 1}}, {"key": "text"}, {"body": bytes(50 * KIB)}]
        yield made._replace(**chance.choice(bad)) if chance.random() < 0.05 else made


def known(place: LogPlace) -> object:
    """What the log knows of where its messages are."""
    state = place.journal.state
    lanes = {key: (lane.end, *map(list, (lane.offsets, lane.segments, lane.positions))) for key, lane in _lanes(place)}
    marks = [{key: (m.end, m.offsets, m.positions) for key, m in each.marks.items()} for each in state.segments]
    return lanes, dict(state.index.ends), marks


def _lanes(place: LogPlace) -> Any:
    return place.journal.state.index.lanes.items()


async def log_of(directory: Path, way: Way, segment_bytes: int) -> tuple[list[object], list[bytes]]:
    """The outcomes, and the segments, which say all again when they are opened."""
    chance, clock = random.Random(7), Stopped()
    options = {"fsync": "never", "segment_bytes": segment_bytes, "spares_max": 0, "interval_ms": HOUR_MS}
    place = await LogPlace.open(directory, clock=clock, **options)
    queues = []
    for lanes in (1, 3, 100):
        await place.create(f"lanes-{lanes}", lanes=lanes)
        queues.append(await place.queue(f"lanes-{lanes}"))
    outcomes: list[object] = []
    for message in messages(chance, 300, clock.time_ms):
        clock.time_ms += chance.randrange(3)
        queue = chance.choice(queues)
        queue._lanes._turn = len(outcomes)  # what is refused, or has a key, takes a turn by one way and none by another
        try:
            outcomes += [(queue.name, each.lane, each.offset) for each in await way(queue, message)]
        except (Rejected, TooLarge):  # what is both may be told either
            outcomes.append("refused")
    before = known(place)
    await place.close()
    segments = [path.read_bytes() for path in sorted(directory.glob("segment-*"))]
    place = await LogPlace.open(directory, clock=clock, **options)
    assert known(place) == before
    assert not place.damages
    await place.close()
    return outcomes, segments


@pytest.mark.parametrize("segment_bytes", [60 * KIB, 512 * KIB])
async def test_every_way_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment_bytes: int) -> None:
    by_thread = await log_of(tmp_path / "thread", by_a_thread, segment_bytes)
    by_loop = await log_of(tmp_path / "loop", by_a_loop, segment_bytes)
    monkeypatch.setattr(committer, "encode_alone", lambda *_: (0, b""))
    as_group = await log_of(tmp_path / "group", by_a_thread, segment_bytes)
    assert len(as_group[1]) > 3
    assert by_thread == as_group
    assert by_loop == as_group


async def test_each_segment_that_a_message_alone_begins_is_looked_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await LogPlace.open(tmp_path, segment_bytes=64 * KIB, fsync="never", interval_ms=HOUR_MS)
    queue = await place.queue("orders")
    wakes: list[Housekeeper] = []
    monkeypatch.setattr(Housekeeper, "wake", lambda each: wakes.append(each))
    for append in (by_a_thread, by_a_loop) * 30:
        await append(queue, make(bytes(4 * KIB)))
    assert len(wakes) == len(place.journal.segments) > 3
    await place.close()


async def test_what_does_not_fit_in_a_segment_is_refused_though_this_one_is_empty(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path, lanes=1, segment_bytes=4 * KIB)
    queue = await place.queue("orders")
    large = make(b"large", headers={"note": "x" * 2950})
    queue.append_blocking([make(b"begins a segment")])
    for append in (by_a_thread, by_a_loop):
        with pytest.raises(TooLarge):
            await append(queue, large)
    await place.close()


async def test_reader_that_begins_to_wait_while_a_delayed_message_is_stored_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Stopped()
    place = await LogPlace.open(tmp_path, clock=clock)
    queue = await place.queue("orders")
    reader = await queue.reader("audit")
    loop, reads = asyncio.get_running_loop(), []
    real = Topic.note_delayed
    begun = threading.Event()

    def begin() -> None:
        reads.append(asyncio.create_task(reader.read(count_max=1, wait_ms=HOUR_MS)))
        begun.set()

    def note(topic: Topic, piece: Piece) -> None:
        if piece.kind == Kind.DELAYED:
            loop.call_soon_threadsafe(begin)
            begun.wait(_HANGS_S)
            while not reader.is_waiting:
                time.sleep(0)
        real(topic, piece)

    monkeypatch.setattr(Topic, "note_delayed", note)
    await queue.append([MessageFactory(clock)(b"later", delay_ms=1)])
    clock.time_ms += 1
    async with asyncio.timeout(_HANGS_S):
        (delivery,) = await reads[0]
    assert delivery.message.body == b"later"
    await place.close()
