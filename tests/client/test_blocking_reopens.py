"""The blocking Consumer opens another reader in the place of one that says Closed, as the asyncio one does."""

from __future__ import annotations

import logging

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.client import blocking
from evermq.errors import Closed
from evermq.port import Start


class Kept(MemoryQueue):
    """A queue of one lane that keeps its readers in mind."""

    def __init__(self) -> None:
        super().__init__("t", lanes=1)
        self.opened: list[MemoryReader] = []

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> MemoryReader:
        self.opened.append(await super().reader(group, start=start))
        return self.opened[-1]


@pytest.fixture
def queue() -> Kept:
    queue = Kept()
    with blocking.Producer(queue) as producer:
        producer.send_many([b"a", b"b"])
    return queue


def test_loop_goes_on_with_another_reader_where_its_own_was_lost(queue: Kept, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[bytes] = []
    with blocking.Consumer(queue, "g") as consumer:
        for delivery in consumer:
            seen.append(delivery.message.body)
            if len(queue.opened) == 1:
                queue.opened[0].shut()
                continue
            consumer.ack(delivery)
            if not blocking.Queue(queue).backlog("g"):
                break
    assert seen[-2:] == [b"a", b"b"]
    assert [reader.closed for reader in queue.opened] == [True, True]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_a_lost_reader_gave_settles_nothing_of_the_next_one(queue: Kept) -> None:
    with blocking.Consumer(queue, "g") as consumer:
        before = consumer.read()
        queue.opened[0].shut()
        assert consumer.read() == []
        again = consumer.read()
        assert [each.message for each in again] == [each.message for each in before]
        consumer.ack(*before)
        consumer.release(*before)
        assert blocking.Queue(queue).backlog("g") == 2
        consumer.ack(*again)
        assert blocking.Queue(queue).backlog("g") == 0


def test_consumer_of_a_queue_that_was_closed_is_told(queue: Kept) -> None:
    with blocking.Consumer(queue, "g") as consumer:
        consumer.read()
        blocking.Queue(queue).close()
        assert consumer.read() == []
        with pytest.raises(Closed, match="queue t was closed"):
            consumer.read()
