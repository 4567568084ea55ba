"""How much one read brings, and what is too large for the socket."""

import tracemalloc
from pathlib import Path

import pytest

from evermq.adapters.log import group as log_group
from evermq.adapters.log import reader as log_reader
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.open import open_log
from evermq.adapters.remote import wire
from evermq.errors import TooLarge
from evermq.lanes import lane_of
from evermq.message import MessageFactory
from evermq.port import Reader

KIB = 1 << 10
MIB = 1 << 20
make = MessageFactory()


async def sizes_of_reads(reader: Reader) -> tuple[list[int], list[bytes]]:
    """The bytes that each read brings, and the first byte of every message in the order in which they come."""
    sizes: list[int] = []
    order: list[bytes] = []
    while found := await reader.read(count_max=500, wait_ms=0):
        sizes.append(sum(len(delivery.message.body) for delivery in found))
        order += [delivery.message.body[:1] for delivery in found]
    return sizes, order


@pytest.mark.parametrize("together", [True, False])
async def test_read_is_bounded_by_bytes_new_and_again(tmp_path: Path, together: bool) -> None:
    place = await LogPlace.open(tmp_path)
    queue = await place.queue("orders")
    messages = [make(b"%c" % n + b"x" * (300 * KIB), key="customer") for n in range(60)]
    for batch in [messages] if together else [[each] for each in messages]:
        await queue.append(batch)
    for _ in ("new", "again"):
        reader = await queue.reader("billing")
        sizes, order = await sizes_of_reads(reader)
        assert max(sizes) < 3 * MIB
        assert order == [b"%c" % n for n in range(60)]
        await reader.close()
    await place.close()


async def test_released_messages_come_in_order_whatever_they_weigh(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path)
    queue = await place.queue("orders")
    await queue.append([make(b"%c" % n + b"x" * (300 * KIB), key="customer") for n in range(20)])
    reader = await queue.reader("billing")
    held = await reader.read(count_max=5, wait_ms=0)
    await reader.release(held)
    sizes, order = await sizes_of_reads(reader)
    assert max(sizes) < 3 * MIB
    assert order == [b"%c" % n for n in range(20)]
    await place.close()


async def test_all_lanes_together_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "_BYTES_ENOUGH", 100 * KIB)
    place = await LogPlace.open(tmp_path)
    queue = await place.queue("orders")
    await queue.append([make(b"x" * (60 * KIB), key=str(n)) for n in range(100)])
    sizes, order = await sizes_of_reads(await queue.reader("billing"))
    assert len(order) == 100
    assert max(sizes) < 2 * MIB
    await place.close()


async def test_memory_of_a_reader_is_bounded_whatever_the_keys(tmp_path: Path) -> None:
    """A batch of many keys is decoded once for all its lanes, and kept for those that come later."""
    place = await LogPlace.open(tmp_path)
    queue = await place.queue("orders")
    for _ in range(30):
        await queue.append([make(bytes(200 * KIB), key=str(n)) for n in range(24)])
    reader = await queue.reader("billing")
    done = 0
    tracemalloc.start()
    try:
        while found := await reader.read(count_max=10, wait_ms=0):
            done += len(found)
            await reader.ack(found)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done == 30 * 24
    assert peak < 80 * MIB  # of 141 MiB
    await place.close()


async def test_what_does_not_fit_through_the_socket_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "FRAME_BYTES_MAX", 64 * KIB)
    owner, guest = await open_log(tmp_path), await open_log(tmp_path)
    mine, queue = await owner.queue("orders"), await guest.queue("orders")
    reader = await queue.reader("billing")
    with pytest.raises(TooLarge, match="cross the socket"):
        await queue.append([make(b"x" * (100 * KIB))])
    assert await queue.backlog("billing") == 0
    await mine.append([make(b"x" * (100 * KIB))])
    with pytest.raises(TooLarge, match="cross the socket"):
        await reader.read(count_max=10, wait_ms=0)
    await reader.close()
    await guest.close()
    await owner.close()


async def test_message_that_is_too_large_for_the_socket_is_named_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "FRAME_BYTES_MAX", 64 * KIB)
    owner, guest = await open_log(tmp_path, lanes=1), await open_log(tmp_path)
    mine, queue = await owner.queue("orders"), await guest.queue("orders")
    large = make(b"x" * (100 * KIB), key="a")
    await mine.append([make(b"before", key="a"), large, make(b"behind", key="a"), make(b"other", key="b")])
    reader = await queue.reader("billing")
    found = await reader.read(count_max=10, wait_ms=0)
    assert [delivery.message.body for delivery in found] == [b"before", b"other"]
    await reader.ack(found)
    with pytest.raises(TooLarge, match=f"message {large.id} .* read it in the process that owns the log"):
        await reader.read(count_max=10, wait_ms=0)
    assert await reader.read(count_max=10, wait_ms=0) == []
    await queue.append([make(b"later", key="c")])
    [later] = await reader.read(count_max=10, wait_ms=0)
    assert later.message.body == b"later"
    await reader.ack([later])
    assert await queue.backlog("billing") == 2
    await mine.append([alone := make(b"y" * (100 * KIB), key="d")])
    with pytest.raises(TooLarge, match=f"message {alone.id} "):
        await reader.read(count_max=10, wait_ms=0)
    await guest.close()
    await owner.close()


async def test_messages_that_together_are_too_large_for_the_socket_come_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "FRAME_BYTES_MAX", 64 * KIB)
    owner, guest = await open_log(tmp_path), await open_log(tmp_path)
    queue = await guest.queue("orders")
    for key in "ababab":
        await (await owner.queue("orders")).append([make(key.encode() + b"x" * (40 * KIB), key=key)])
    reader = await queue.reader("billing")
    sizes, order = [], []
    while found := await reader.read(count_max=10, wait_ms=0):
        sizes.append(len(found))
        order += [delivery.message.body[:1] for delivery in found]
        await reader.ack(found)
    assert sizes == [1] * 6
    assert sorted(order) == [b"a"] * 3 + [b"b"] * 3
    await guest.close()
    await owner.close()


def test_message_bytes_max_is_no_more_than_crosses_the_socket() -> None:
    most = LogOptions(segment_bytes=2 << 30, message_bytes_max=1 << 30).message_bytes_max
    assert most + 32 * MIB < wire.FRAME_BYTES_MAX


async def test_read_is_bounded_where_one_lane_has_what_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages of a batch are stored together, whatever their lanes: their mean says nothing of one lane."""
    monkeypatch.setattr(log_group, "_WINDOW_BYTES", 200 * KIB)
    place = await LogPlace.open(tmp_path, lanes=2)
    queue = await place.queue("orders")
    large, empty = (next(k for k in map(str, range(99)) if lane_of(k.encode(), 2) == lane) for lane in (0, 1))
    for _ in range(20):
        await queue.append([make(bytes(100 * KIB), key=large), *[make(b"", key=empty) for _ in range(99)]])
    for _ in ("new", "again"):
        reader = await queue.reader("billing")
        sizes, order = await sizes_of_reads(reader)
        assert sum(sizes) == 20 * 100 * KIB
        assert len(order) == 2_000
        assert max(sizes) <= 600 * KIB
        await reader.close()
    await place.close()
