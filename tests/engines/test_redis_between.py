"""What others do to a topic of a real Redis between two requests of a reader."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.redis.place import RedisPlace
from evermq.adapters.redis.wire import Request, Wire
from evermq.drills.engines.redis import Redis
from evermq.errors import NoSuchTopic, Unavailable
from evermq.message import MessageFactory
from evermq.port import Reader, Start

Deed = Callable[[], Awaitable[None]]
After = Callable[[str, Deed], None]
Placed = Callable[[], Awaitable[RedisPlace]]
message = MessageFactory()


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> After:
    """Does something once, when the next script of this name was answered and before whoever asked goes on."""
    deeds: dict[str, Deed] = {}
    calls = Wire.calls

    async def called(wire: Wire, *requests: Request) -> list[list[Any]]:
        found = await calls(wire, *requests)
        if deed := deeds.pop(requests[-1].script.name, None):
            await deed()
        return found

    monkeypatch.setattr(Wire, "calls", called)
    return deeds.__setitem__


@pytest.fixture
async def placed(redis_server: Redis) -> AsyncIterator[Placed]:
    """Opens the place anew, as another process has it."""
    async with AsyncExitStack() as stack:

        async def opened() -> RedisPlace:
            place = await open_place(redis_server.url())
            assert isinstance(place, RedisPlace)
            stack.push_async_callback(place.close)
            return place

        yield opened


async def bodies(reader: Reader, count: int) -> list[bytes]:
    """What is read and acknowledged."""
    found: list[bytes] = []
    while len(found) < count:
        some = await reader.read(count_max=100, wait_ms=10_000)
        assert some, f"{count} were due and {len(found)} came"
        await reader.ack(some)
        found += [each.message.body for each in some]
    return found


async def test_lanes_that_became_old_while_older_ones_were_forgotten_are_read(
    placed: Placed, topic: str, after: After
) -> None:
    place, other = await placed(), await placed()
    await place.create(topic, groups=["g"], lanes=2)
    reader = await (await place.queue(topic)).reader("g")
    await place.change_lanes(topic, 3)

    async def relane() -> None:
        queue = await other.queue(topic)
        await queue.append([message(str(number), key=str(number)) for number in range(20)])
        await other.change_lanes(topic, 4)

    after("close", relane)
    assert await reader.read(count_max=1, wait_ms=10_000)
    await reader.close()
    queue = await (await placed()).queue(topic)
    assert len(set(await bodies(await queue.reader("g"), 20))) == 20
    assert await queue.backlog("g") == 0


async def test_topic_that_was_dropped_while_its_old_lanes_were_forgotten_stays_dropped(
    placed: Placed, topic: str, after: After
) -> None:
    place, other = await placed(), await placed()
    await place.create(topic, groups=["g"], lanes=2)
    reader = await (await place.queue(topic)).reader("g")
    await place.change_lanes(topic, 3)
    after("close", lambda: other.drop(topic))
    with pytest.raises(Unavailable, match="is gone"):
        await reader.read(count_max=1, wait_ms=10_000)
    with pytest.raises(NoSuchTopic):
        await other.queue(topic)


async def test_lane_that_was_taken_away_is_not_handed_out_though_its_messages_are_here(
    placed: Placed, topic: str
) -> None:
    place = await placed()
    await place.create(topic, groups=["g"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message(text, key="a") for text in "abc"])
    reader = await queue.reader("g")
    leases = reader._leases
    await leases.fill(3)  # as for a read that was given up
    await place.reset(topic, "g", Start.OLDEST)
    await leases._renew(list(leases._held))
    other = await queue.reader("g")
    held = await other.read(count_max=2, wait_ms=10_000)
    assert [each.message.body for each in held] == [b"a", b"b"]
    assert not await reader.read(count_max=3, wait_ms=0)
    await reader.close()
    await other.ack(held)
    assert await bodies(other, 1) == [b"c"]


async def test_message_of_a_topic_that_was_dropped_settles_none_of_the_one_that_was_made_anew(
    placed: Placed, topic: str
) -> None:
    place = await placed()
    await place.create(topic, groups=["g"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message("old")])
    reader = await queue.reader("g")
    [old] = await reader.read(count_max=1, wait_ms=10_000)
    await place.drop(topic)
    await place.create(topic, groups=["g"], lanes=1)
    queue = await place.queue(topic)
    await queue.append([message("new")])
    [new] = await reader.read(count_max=1, wait_ms=10_000)
    assert (new.message.body, new.position) == (b"new", old.position)
    await reader.release([old], delay_ms=60_000)
    await reader.ack([old])
    assert await queue.backlog("g") == 1
    await reader.close()
    assert await bodies(await queue.reader("g"), 1) == [b"new"]


async def test_lane_count_of_a_topic_that_was_made_anew_meanwhile_is_not_changed(
    placed: Placed, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, other = await placed(), await placed()
    await place.create(topic, groups=["g"], lanes=2)
    on_key = Wire.on_key

    async def anew(wire: Wire, *asked: Any) -> list[Any]:
        monkeypatch.setattr(Wire, "on_key", on_key)
        await other.drop(topic)
        await other.create(topic, groups=["g"], lanes=2)
        return await on_key(wire, *asked)

    monkeypatch.setattr(Wire, "on_key", anew)
    with pytest.raises(Unavailable, match="meanwhile"):
        await place.change_lanes(topic, 3)
    queue = await other.queue(topic)
    await queue.append([message(str(number), key=str(number)) for number in range(20)])
    assert len(await bodies(await queue.reader("g"), 20)) == 20
