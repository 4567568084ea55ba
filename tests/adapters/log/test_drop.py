"""`unread=drop`: what goes although somebody still needs it is told."""

import logging
from collections.abc import Iterator

import pytest

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.message import MessageFactory
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate

COUNT = 60


async def settle(queue: LogQueue, wanted: int) -> int:
    reader = await queue.reader("billing")
    count = 0
    while count < wanted and (found := await reader.read(count_max=wanted - count, wait_ms=0)):
        await reader.ack(found)
        count += len(found)
    await reader.close()
    return count


def told(records: list[logging.LogRecord]) -> Iterator[int]:
    for record in records:
        assert record.name == "evermq.log"
        assert isinstance(record.args, tuple)
        topic, count, _ = record.args
        assert topic == "orders"
        assert isinstance(count, int)
        yield count


@pytest.mark.parametrize("settled", [None, 0, 10, COUNT])
def test_dropped_messages_are_counted_and_told(caplog: pytest.LogCaptureFixture, settled: int | None) -> None:
    async def main(clock: SimulatedClock) -> None:
        options = LogOptions(lanes=1, segment_bytes=4096, bytes_max=3 * 4096, unread="drop", retain_bytes=0)
        place = LogPlace(FakeDisk(), options, clock=clock, threaded=False)
        make, queue = MessageFactory(clock), await place.queue("orders")
        for _ in range(COUNT):
            await queue.append([make(b"x" * 300)])
        if settled is not None:  # else no group is there yet
            await settle(queue, settled)
        place.tidy()
        dropped = COUNT - (settled or 0) - await settle(queue, COUNT)
        assert sum(told(caplog.records)) == place.dropped["orders"] == dropped
        assert (dropped > 0) == (settled != COUNT)

    with caplog.at_level(logging.WARNING):
        simulate(1, main)
