"""Delayed messages whose time has come, while several event loops read."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evermq.adapters.log.delays import Delays
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.clock import SystemClock
from evermq.message import Message, MessageFactory

COUNT = 20
STANDS_STILL_S = 0.2

make = MessageFactory()


class Later(SystemClock):
    """A wall clock that goes forward at once."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


async def delayed(path: Path, count: int = COUNT) -> tuple[LogPlace, LogQueue, Later]:
    """A log in which so many messages are due."""
    clock = Later()
    place = await LogPlace.open(path, clock=clock, lanes=1)
    queue = await place.queue("orders")
    for i in range(count):
        await queue.append([make(str(i), delay_ms=3_600_000 + i)])
    clock.ahead_ms = 7_200_000
    return place, queue, clock


def read_all(place: LogPlace) -> list[bytes]:
    """By a reader of the group that all share, in a loop of its own."""

    async def read() -> list[bytes]:
        queue = await place.queue("orders")
        reader = await queue.reader("shipping")
        found: list[bytes] = []
        while deliveries := await reader.read(count_max=100, wait_ms=0):
            found += [delivery.message.body for delivery in deliveries]
            await reader.ack(deliveries)
        await queue.close()
        return found

    return asyncio.run(read())


def standing_still_once(real: Callable[[Delays, int], Message | None]) -> Callable[[Delays, int], Message | None]:
    """Who fetches the first message stands still behind it, until the other one is through or waits itself."""
    first = threading.Lock()

    def fetch(self: Delays, offset: int) -> Message | None:
        message = real(self, offset)
        if first.acquire(blocking=False):
            threading.Event().wait(STANDS_STILL_S)
        return message

    return fetch


async def test_loops_that_move_what_is_due_side_by_side_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _, _ = await delayed(tmp_path)
    monkeypatch.setattr(Delays, "_message", standing_still_once(Delays._message))
    with ThreadPoolExecutor(2) as pool:
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(*[loop.run_in_executor(pool, read_all, place) for _ in range(2)])
    rest = await asyncio.to_thread(read_all, place)
    assert Counter(found[0] + found[1] + rest) == Counter(str(i).encode() for i in range(COUNT))
    await place.close()


async def test_what_is_on_its_way_is_kept_until_it_is_in_its_lane(tmp_path: Path) -> None:
    place, queue, clock = await delayed(tmp_path, 3)
    delays = queue._topic.delays
    taken, _ = delays._take_due(clock.now_ms())
    assert [offset for _, offset in taken] == [0, 1, 2]
    assert delays.low == 0
    assert delays.count == 3
    delays._wait_on(taken)
    await asyncio.to_thread(read_all, place)
    assert delays.low is None
    assert delays.count == 0
    await place.close()


async def test_what_becomes_due_while_something_is_fetched_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, queue, clock = await delayed(tmp_path, 1)
    delays, real = queue._topic.delays, Delays._message

    def fetch(self: Delays, offset: int) -> Message | None:
        if offset == 0:
            delays.add(1, 1)  # as the writer does, of one whose time was already up when it was written
        return real(self, offset)

    monkeypatch.setattr(Delays, "_message", fetch)
    due, messages = delays._take_due(clock.now_ms())
    assert (due[0][1], messages[0].body) == (0, b"0")
    delays._wait_on(due)
    await place.close()
