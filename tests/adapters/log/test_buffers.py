"""Memory that is used again: what one append wrote there never reaches another one."""

import asyncio
from itertools import chain
from pathlib import Path

import pytest

from evermq import MessageFactory
from evermq.adapters.log.batch import load
from evermq.adapters.log.buffers import Buffers
from evermq.adapters.log.columns import decode
from evermq.adapters.log.load import TopicLanes
from evermq.adapters.log.place import LogPlace

make = MessageFactory()


def test_memory_that_was_given_back_is_used_again() -> None:
    buffers = Buffers()
    first = buffers.take(100_000)
    first.write(b"x" * 100_000)
    buffers.give(first)
    again = buffers.take(90_000)
    assert again is first
    assert again.tell() == 0
    assert buffers.take(90_000) is not first


def test_memory_that_somebody_still_looks_at_is_not_used_again() -> None:
    buffers = Buffers()
    first = buffers.take(100_000)
    view = first.getbuffer()[:10]
    buffers.give(first)
    assert buffers.take(100_000) is not first
    assert len(view) == 10


def test_no_more_is_kept_than_was_asked_for() -> None:
    buffers = Buffers(kept_bytes_max=300_000)
    taken = [buffers.take(100_000) for _ in range(3)]
    for each in taken:
        buffers.give(each)
    assert len({id(buffers.take(100_000)) for _ in range(3)} & {id(each) for each in taken}) == 2


def test_large_batch_after_a_larger_one_has_nothing_of_it() -> None:
    topic, buffers = TopicLanes(1, lanes=1), Buffers()
    for count, size in ((250, 1000), (100, 1300)):
        messages = [make(bytes([number % 256]) * size) for number in range(count)]
        made = load(topic, messages, 0, buffers)
        [(_, _, _, _, parts, whole)] = made.parts
        payload = b"".join(parts)
        assert len(payload) == whole
        assert decode(memoryview(payload), count) == messages
        made.give_back()
    assert len(buffers._free[1 << 18]) == 1


@pytest.mark.parametrize("is_large_first", [True, False])
async def test_batches_that_do_not_fit_together_are_stored_each_by_itself(tmp_path: Path, is_large_first: bool) -> None:
    """Keys and headers are looked at only when a group is made, and what was encoded before that is written then."""
    place = await LogPlace.open(tmp_path, lanes=1, segment_bytes=1 << 20)
    queue = await place.queue("orders")
    batches = [
        [make(b"a" * 1_450) for _ in range(60)],
        [make(b"x", headers={"h": "y" * 680_000})],
        [make(b"b" * 900) for _ in range(100)],
        [make(b"c" * 1_000) for _ in range(120)],
    ]
    await asyncio.gather(*map(queue.append, batches if is_large_first else reversed(batches)))
    await queue.append([make(b"later")])
    reader = await queue.reader("billing")
    found = []
    while deliveries := await reader.read(count_max=500, wait_ms=0):
        found += [delivery.message for delivery in deliveries]
    assert found.pop().body == b"later"
    assert sorted(found) == sorted(chain.from_iterable(batches))
    await place.close()
