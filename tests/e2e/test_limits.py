"""Memory has bounds: a producer that is faster than the disk, a consumer that acknowledges nothing, a long log."""

from pathlib import Path

import pytest
from tests.e2e.rig import run

from evermq.adapters.log import group
from evermq.adapters.log.place import LogPlace
from evermq.client import Consumer
from evermq.message import MessageFactory

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
def test_long_log_with_a_million_unsettled_opens_in_little_memory(tmp_path: Path) -> None:
    built = run("limits", "build", tmp_path)
    segment_bytes = built["bytes"] // built["segments"]
    assert built["segments"] > 20
    first = run("limits", "open", tmp_path)
    assert first["backlog"] == built["messages"]
    # The segment that was being written, twice at most, and of the sealed ones their footers.
    assert first["read_bytes"] < 2 * segment_bytes + built["bytes"] // 50
    assert first["memory_mb"] < 100
    held = run("limits", "hold", tmp_path)
    assert held["held"] > 900_000
    assert held["cursor_bytes"] < 16 << 20
    again = run("limits", "open", tmp_path)
    assert again["backlog"] == held["held"]
    assert again["read_bytes"] < 2 * segment_bytes + built["bytes"] // 50 + held["cursor_bytes"]
    assert again["memory_mb"] < 200


@pytest.mark.slow
def test_producer_that_outruns_the_disk_waits_and_does_not_grow(tmp_path: Path) -> None:
    figures = run("limits", "outrun", tmp_path)
    assert figures["refused"] > 0
    assert figures["stored"] == figures["sent"] == 100_000
    assert figures["memory_mb"] < 100, "200 MB went through a window of 8"


async def test_reader_that_acknowledges_nothing_gets_a_bounded_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "_UNSETTLED_MAX", 800)
    monkeypatch.setattr(group, "_UNSETTLED_OF_A_LANE", 100)
    place = await LogPlace.open(tmp_path, lanes=4, segment_bytes=1 << 20)
    queue = await place.queue("orders")
    make = MessageFactory()
    await queue.append([make(b"x", key=f"{i}") for i in range(5_000)])
    reader = await queue.reader("g")
    held = []
    while found := await reader.read(count_max=50, wait_ms=0):
        held += found
    assert 800 <= len(held) <= 800 + 4 * 50
    await reader.ack(held[:400])
    assert await reader.read(count_max=50, wait_ms=0)
    await place.close()


@pytest.mark.parametrize(("key", "least", "most"), [(None, 16, 16), ("a", 50, 100)])
async def test_consumer_whose_handler_hangs_holds_one_for_each_or_of_one_key_two_batches(
    tmp_path: Path, key: str | None, least: int, most: int
) -> None:
    place = await LogPlace.open(tmp_path, segment_bytes=1 << 20)
    queue = await place.queue("orders")
    make = MessageFactory()
    await queue.append([make(b"x", key=key) for _ in range(5_000)])

    async def hang(delivery: object) -> None:
        await place.clock.sleep(3_600_000)

    consumer = Consumer(queue, "g", hang, batch_count_max=50)
    await consumer.start()
    await place.clock.sleep(200)
    held = sum(cursor.unsettled for cursor in place.topics_by_number[1].groups["g"].cursors)
    assert least <= held <= most
    await consumer.stop(drain_ms=0)
    assert await queue.backlog("g") == 5_000
    await place.close()
