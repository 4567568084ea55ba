"""A group that is moved begins anew, wherever it is asked from."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.remote.agreed import Resets
from evermq.errors import NoSuchTopic, Rejected
from evermq.message import MessageFactory
from evermq.port import Place, Queue, Start

make = MessageFactory()


async def opened(directory: Path) -> Place:
    """The first of them owns the directory, others ask it through its socket."""
    return await open_place(f"log://{directory}/log")


async def filled(place: Place, count: int = 6) -> Queue:
    await place.create("orders", lanes=1)
    queue = await place.queue("orders")
    for number in range(count):
        await queue.append([make(str(number))])
    return queue


async def taken(queue: Queue) -> list[tuple[str, int]]:
    """What the group is handed now, and as which attempt; all of it is acknowledged."""
    reader = await queue.reader("g")
    found = []
    while some := await reader.read(count_max=100, wait_ms=50):
        found += [(delivery.message.body.decode(), delivery.attempt) for delivery in some]
        await reader.ack(some)
    await reader.close()
    return found


async def moved(place: Place, start: Start) -> None:
    assert isinstance(place, Resets)
    await place.reset("orders", "g", start)


@pytest.mark.parametrize("asks", ["owner", "other process"])
async def test_group_begins_again_where_it_is_told_to(tmp_path: Path, asks: str) -> None:
    owner = await opened(tmp_path)
    queue = await filled(owner)
    place = owner if asks == "owner" else await opened(tmp_path)
    assert len(await taken(queue)) == 6
    await moved(place, Start.OLDEST)
    assert await taken(queue) == [(str(number), 1) for number in range(6)]
    await moved(place, Start("offset", 4))
    assert await queue.backlog("g") == 2
    assert await taken(queue) == [("4", 1), ("5", 1)]
    await moved(place, Start("time", 0))
    await moved(place, Start.NEWEST)
    assert await taken(queue) == []
    for each in {owner, place}:
        await each.close()


async def test_where_it_was_moved_to_is_known_to_the_next_owner(tmp_path: Path) -> None:
    place = await opened(tmp_path)
    assert len(await taken(await filled(place))) == 6
    await moved(place, Start("offset", 3))
    await place.close()
    place = await opened(tmp_path)
    assert await taken(await place.queue("orders")) == [("3", 1), ("4", 1), ("5", 1)]
    await place.close()
    place = await opened(tmp_path)
    assert await taken(await place.queue("orders")) == []
    await place.close()


@pytest.mark.parametrize("asks", ["owner", "other process"])
async def test_group_with_readers_is_not_moved_and_one_that_is_not_there_is_named(tmp_path: Path, asks: str) -> None:
    owner = await opened(tmp_path)
    queue = await filled(owner)
    place = owner if asks == "owner" else await opened(tmp_path)
    with pytest.raises(NoSuchTopic, match="no group g"):
        await moved(place, Start.OLDEST)
    reader = await queue.reader("g")
    found = await reader.read(count_max=2, wait_ms=1_000)
    with pytest.raises(Rejected, match="close them, then reset it"):
        await moved(place, Start.NEWEST)
    await reader.ack(found)
    await reader.close()
    assert [body for body, _ in await taken(queue)] == ["2", "3", "4", "5"]
    for each in {owner, place}:
        await each.close()
