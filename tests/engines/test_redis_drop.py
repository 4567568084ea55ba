"""A topic of a real Redis whose drop is killed half-way is wholly there or wholly gone, and can be made anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from evermq.adapters.open import open_place
from evermq.adapters.redis.place import RedisPlace
from evermq.adapters.redis.server import Server
from evermq.drills.engines.engine import Engine
from evermq.errors import NoSuchTopic
from evermq.message import MessageFactory
from evermq.port import Queue

message = MessageFactory()
LANES = 8


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(params=["redis_server", "redis_cluster_server"])
def url(request: pytest.FixtureRequest) -> str:
    server: Engine = request.getfixturevalue(request.param)
    return server.url()


class Requests:
    """Counts them, and ends the process in place of the one that is one too many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.count_max = 0, 1_000_000
        ask = Server.ask

        async def asked(server: Server, *given: Any, **more: Any) -> list[Any]:
            if self.count >= self.count_max:
                raise Killed
            self.count += 1
            return await ask(server, *given, **more)

        monkeypatch.setattr(Server, "ask", asked)

    def allow(self, count: int) -> None:
        """So many from now on."""
        self.count, self.count_max = 0, count


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisPlace]:
    """As another process has it."""
    place = await open_place(url)
    assert isinstance(place, RedisPlace)
    try:
        yield place
    finally:
        await place.close()


async def works(queue: Queue) -> None:
    """Every lane takes something and gives it back."""
    sent = [message(str(number), key=str(number)) for number in range(8 * LANES)]
    assert len({each.lane for each in await queue.append(sent)}) == LANES
    reader = await queue.reader("g")
    found: list[str] = []
    while len(found) < len(sent):
        some = await reader.read(count_max=100, wait_ms=10_000)
        assert some
        await reader.ack(some)
        found += [each.message.id for each in some]
    assert set(found) == {each.id for each in sent}
    await reader.close()


@pytest.mark.parametrize("end", ["drop", "create"])
async def test_drop_that_is_killed_leaves_a_topic_that_is_there_or_gone(
    url: str, topic: str, end: str, requests: Requests
) -> None:
    """Killed after each of its requests in turn; dropping it again ends that, and so does making it."""
    sent, is_whole = 0, False
    while not is_whole:
        async with opened(url) as place:
            await place.create(topic, groups=["g"], lanes=LANES)
            await works(await place.queue(topic))
            requests.allow(sent)
            try:
                await place.drop(topic)
                is_whole = True
            except Killed:
                sent += 1
            requests.allow(1_000_000)
        async with opened(url) as place:
            try:
                await works(await place.queue(topic))
            except NoSuchTopic:
                assert topic not in await place.topics()
            if end == "drop":
                with suppress(NoSuchTopic):  # the first try may have ended it, but for the answer
                    await place.drop(topic)
                with pytest.raises(NoSuchTopic):
                    await place.queue(topic)
            await place.create(topic, groups=["g"], lanes=LANES)
            queue = await place.queue(topic)
            assert await queue.backlog("g") == 0
            await works(queue)
            assert topic in await place.topics()
    assert sent > 1
