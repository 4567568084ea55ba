"""Many appends at once: single messages of a group share a batch, and a group is written while the next is made."""

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from evermq.adapters.log.pace import Pace
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.writer import Writer
from evermq.errors import Rejected, TooLarge, Uncertain
from evermq.message import Message, MessageFactory

KIB = 1 << 10
make = MessageFactory()


@pytest.fixture(params=["thread", "loop"])
def writer(request: pytest.FixtureRequest) -> str:
    """Who writes, a thread or the event loop itself."""
    return str(request.param)


async def bodies_of(queue: LogQueue) -> list[bytes]:
    reader = await queue.reader("audit")
    found: list[bytes] = []
    while deliveries := await reader.read(count_max=1000, wait_ms=0):
        found += [delivery.message.body for delivery in deliveries]
        await reader.ack(deliveries)
    return found


async def append_all(queue: LogQueue, batches: Sequence[Sequence[Message]]) -> list[object]:
    return await asyncio.gather(*[queue.append(batch) for batch in batches], return_exceptions=True)


async def test_bad_message_does_not_disturb_the_others_of_its_group(tmp_path: Path, writer: str) -> None:
    place = await LogPlace.open(tmp_path, lanes=1, writer=writer)
    queue = await place.queue("orders")
    outcomes = await append_all(queue, [[make(b"a")], [make(b"bad", id="with\0nul")], [make(b"c")]])
    assert isinstance(outcomes[1], Rejected)
    assert [outcome[0].offset for outcome in (outcomes[0], outcomes[2])] == [0, 1]  # type: ignore[index]
    assert await bodies_of(queue) == [b"a", b"c"]
    await place.close()


async def test_headers_that_do_not_fit_are_refused_alone(tmp_path: Path, writer: str) -> None:
    place = await LogPlace.open(tmp_path, lanes=1, writer=writer, segment_bytes=1 << 20, message_bytes_max=64 * KIB)
    queue = await place.queue("orders")
    large = make(b"large", headers={"note": "x" * (1 << 20)})
    outcomes = await append_all(queue, [[make(b"a")], [large], [make(b"c")]])
    assert isinstance(outcomes[1], TooLarge)
    assert await bodies_of(queue) == [b"a", b"c"]
    await place.close()


async def test_what_is_appended_later_comes_later(tmp_path: Path, writer: str) -> None:
    place = await LogPlace.open(tmp_path, lanes=1, writer=writer)
    queue = await place.queue("orders")
    await append_all(queue, [[make(b"1")], [make(b"2")], [make(b"3"), make(b"4")], [make(b"5")], [make(b"6")]])
    assert await bodies_of(queue) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    await place.close()


async def test_topics_of_one_group_are_told_apart(tmp_path: Path, writer: str) -> None:
    place = await LogPlace.open(tmp_path, lanes=1, writer=writer)
    orders, bills = await place.queue("orders"), await place.queue("bills")
    pairs = [(orders, b"o1"), (bills, b"b1"), (orders, b"o2"), (orders, b"o3"), (bills, b"b2")]
    placed = await asyncio.gather(*[queue.append([make(body)]) for queue, body in pairs])
    assert [positions[0].offset for positions in placed] == [0, 0, 1, 2, 1]
    assert await bodies_of(orders) == [b"o1", b"o2", b"o3"]
    assert await bodies_of(bills) == [b"b1", b"b2"]
    await place.close()


async def test_failed_write_leaves_all_uncertain_but_those_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    place = await LogPlace.open(tmp_path, lanes=1, writer=writer)
    queue = await place.queue("orders")
    await queue.append([make(b"before")])

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(type(place.journal.segments[-1].file), "pwrite", fail)
        outcomes = await append_all(queue, [[make(b"a")], [make(b"bad", id="with\0nul")], [make(b"c")]])
    assert [type(outcome) for outcome in outcomes] == [Uncertain, Rejected, Uncertain]
    await place.close()


async def test_cancelled_caller_does_not_take_along_those_of_its_group(tmp_path: Path, writer: str) -> None:
    place = await LogPlace.open(tmp_path, lanes=1, writer=writer)
    queue = await place.queue("orders")
    tasks = [asyncio.create_task(_append_one(queue, body)) for body in (b"a", b"b", b"c")]
    await asyncio.sleep(0)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, asyncio.CancelledError, int]
    assert await bodies_of(queue) == [b"a", b"b", b"c"]
    await place.close()


async def _append_one(queue: LogQueue, body: bytes) -> int:
    return len(await queue.append([make(body)]))


@pytest.mark.parametrize("size", [KIB, 40 * KIB, 300 * KIB])
async def test_all_is_stored_in_order_though_groups_begin_early(tmp_path: Path, writer: str, size: int) -> None:
    place = await LogPlace.open(tmp_path, lanes=4, writer=writer)
    queue = await place.queue("orders")
    count = 30

    async def producer(number: int) -> None:
        for i in range(count):
            await queue.append([make(b"%d-%d" % (number, i) + b"." * size, key=str(number))])

    await asyncio.gather(*[producer(number) for number in range(8)])
    found = [body.split(b".")[0].split(b"-") for body in await bodies_of(queue)]
    for number in range(8):
        assert [int(i) for n, i in found if int(n) == number] == list(range(count))
    await place.close()


def test_pace_shares_what_goes_around_between_two_groups() -> None:
    pace = Pace()
    pace.note(1024 * KIB, 0.002, 0)
    assert 256 * KIB < pace.enough_bytes < 512 * KIB
    pace.note(512 * KIB, 0.001, 512 * KIB)
    assert 256 * KIB < pace.enough_bytes < 512 * KIB


def test_pace_waits_for_all_where_flushes_are_slow() -> None:
    pace = Pace()
    pace.note(64 * KIB, 0.010, 0)
    assert pace.enough_bytes == float("inf")
    pace.note(64 * KIB, 0.0002, 0)
    assert pace.enough_bytes == 128 * KIB
    for _ in range(1000):
        pace.note(64 * KIB, 0.010, 0)
    assert pace.enough_bytes == float("inf")


def test_writer_that_does_not_begin_is_not_waited_for_for_ever() -> None:
    done: list[int] = []
    writer = Writer(lambda: done.append(1))
    writer.start()  # has its turn, but never says that it begins
    writer.ask()
    writer.let_begin()
    writer.ask()
    writer.close()
    assert done == [1, 1]


def test_writer_goes_on_after_turns_that_could_not_end() -> None:
    """A thread that ended would leave every later append of a loop without an outcome."""
    left: list[Exception] = [MemoryError(), MemoryError(), MemoryError()]
    done: list[int] = []

    def turn() -> None:
        if left:
            raise left.pop()
        done.append(1)

    writer = Writer(turn)
    writer.start()
    writer.ask()
    writer.ask()
    writer.close()
    assert not left
    assert done == [1, 1]
