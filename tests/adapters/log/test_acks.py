"""What is acknowledged: the last read as a whole, parts of it, an earlier one, a list that the caller changed."""

from pathlib import Path

import pytest

from evermq.adapters.log.place import LogPlace
from evermq.message import MessageFactory

make = MessageFactory()


@pytest.mark.parametrize("lanes", [1, 3])
async def test_whole_reads_parts_and_changed_lists(tmp_path: Path, lanes: int) -> None:
    place = await LogPlace.open(tmp_path, lanes=lanes)
    queue = await place.queue("orders")
    await queue.append([make(b"%d" % n, key=str(n)) for n in range(300)])
    reader = await queue.reader("billing")
    first = await reader.read(count_max=200, wait_ms=0)
    second = await reader.read(count_max=50, wait_ms=0)
    await reader.ack(first)  # not the last one
    assert await queue.backlog("billing") == 100
    await reader.ack(second[::2])
    await reader.ack(second[::2])  # again is harmless
    assert await queue.backlog("billing") == 75
    await reader.ack(second)
    third = await reader.read(count_max=50, wait_ms=0)
    kept = third.pop()
    await reader.ack(third)
    assert await queue.backlog("billing") == 1
    await reader.release([kept])
    [again] = await reader.read(count_max=50, wait_ms=0)
    assert (again.message.id, again.attempt) == (kept.message.id, 2)
    await reader.ack([again])
    assert await queue.backlog("billing") == 0
    await place.close()
