"""Where a lane ends, as a real engine tells it: behind the last message that a reader sees."""

from __future__ import annotations

import pytest

from evermq.adapters.open import open_place, open_queue
from evermq.adapters.redis.place import RedisPlace
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.redis import Redis
from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.settling import Bounded

make = MessageFactory()


@pytest.mark.parametrize("server", ["kafka_server", "redis_server"])
async def test_lane_ends_behind_its_last_message(server: str, request: pytest.FixtureRequest, topic: str) -> None:
    engine: Engine = request.getfixturevalue(server)
    place = await open_place(engine.url())
    await place.create(topic, groups=("g",), lanes=4)
    await place.close()
    queue = await open_queue(engine.url(topic))
    assert isinstance(queue, Bounded)
    positions = await queue.append([make("x", key=f"k{n % 5}") for n in range(100)])
    ends = {str(lane): 0 for lane in range(4)}
    for position in positions:
        assert position.offset is not None
        ends[position.lane] = max(ends[position.lane], position.offset + 1)
    assert {lane: await queue.end(lane) for lane in ends} == ends
    await queue.close()


async def test_redis_whose_lanes_were_changed_does_not_say_where_they_end(redis_server: Redis, topic: str) -> None:
    place = await open_place(redis_server.url())
    assert isinstance(place, RedisPlace)
    await place.create(topic, groups=("g",), lanes=4)
    queue = await open_queue(redis_server.url(topic))
    assert isinstance(queue, Bounded)
    assert await queue.end("1") == 0
    await place.change_lanes(topic, 6)
    with pytest.raises(Unavailable, match="were changed"):
        await queue.end("1")
    await queue.close()
    await place.close()
