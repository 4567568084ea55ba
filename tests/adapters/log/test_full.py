"""A log without room: what is there is read, and so there is room again."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.errors import Overloaded
from evermq.message import MessageFactory
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate


def place_on(clock: SimulatedClock, **options: Any) -> LogPlace:
    chosen = LogOptions(lanes=1, segment_bytes=4096, retain_bytes=0, **options)
    return LogPlace(FakeDisk(), chosen, clock=clock, threaded=False)


async def fill(queue: LogQueue, make: MessageFactory) -> int:
    """Append until there is no room; how many went in."""
    for count in range(1000):
        try:
            await queue.append([make(b"x" * 300)])
        except Overloaded:
            return count
    raise AssertionError("it never was full")


async def read_all(place: LogPlace, queue: LogQueue) -> int:
    reader = await queue.reader("g")
    count = 0
    while found := await reader.read(count_max=10, wait_ms=5_000):
        count += len(found)
        await reader.ack(found)
        place.tidy()
    await reader.close()
    return count


def test_delayed_messages_leave_the_oldest_segment_of_a_log_at_bytes_max() -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(clock, bytes_max=5 * 4096)
        make, queue = MessageFactory(clock), await place.queue("t")
        delayed = 30  # several segments of them
        for _ in range(delayed):
            await queue.append([make(b"x" * 300, delay_ms=1_000)])
        count = await fill(queue, make)
        await clock.sleep(2_000)
        assert await read_all(place, queue) == delayed + count
        assert await fill(queue, make) > 0

    simulate(1, main)


def test_due_messages_for_which_the_disk_has_no_room_let_the_others_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: SimulatedClock) -> None:
        place = place_on(clock, spares_max=0)
        make, queue = MessageFactory(clock), await place.queue("t")
        await queue.append([make(b"x" * 300, delay_ms=1_000)])

        def refuse() -> None:
            raise OSError(errno.ENOSPC, "full")

        with monkeypatch.context() as patch:
            patch.setattr(place.journal.spares, "before_make", refuse)
            count = await fill(queue, make)
            await clock.sleep(2_000)
            assert await read_all(place, queue) == count
            assert await queue.backlog("g") == 1
        await clock.sleep(1_000)
        assert await read_all(place, queue) == 1

    simulate(1, main)
