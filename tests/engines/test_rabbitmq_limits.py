"""RabbitMQ whose own limit is below the one that evermq knows of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from tests.engines.conftest import started

from evermq.adapters.address import parse
from evermq.adapters.rabbitmq.connect import connect
from evermq.adapters.rabbitmq.place import RabbitPlace
from evermq.drills.engines.engine import Engine
from evermq.drills.engines.rabbitmq import RabbitMQ
from evermq.errors import EvermqError, Partial, TooLarge, Uncertain
from evermq.message import MessageFactory
from evermq.port import Queue

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

message = MessageFactory()
BYTES_MAX = 100_000


@pytest.fixture(scope="module")
def small_server() -> Iterator[Engine]:
    yield from started(partial(RabbitMQ, settings=f"max_message_size = {BYTES_MAX}"))


async def made(server: Engine, topic: str) -> tuple[RabbitPlace, Queue]:
    place = await connect(parse(server.url(), topic_needed=False))
    await place.create(topic, groups=["a"], lanes=1)
    return place, await place.queue(topic)


async def test_message_over_the_limit_of_the_server_is_too_large_and_others_still_go(
    small_server: Engine, topic: str
) -> None:
    place, queue = await made(small_server, topic)
    for _ in range(2):  # the server closes the channel over it: another one is opened
        with pytest.raises(TooLarge, match=str(BYTES_MAX)):
            await queue.append([message(bytes(BYTES_MAX + 1))])
        await queue.append([message(bytes(BYTES_MAX))])
    assert await queue.backlog("a") == 2
    await place.drop(topic)
    await place.close()


async def test_nothing_is_claimed_of_messages_that_travel_with_one_over_the_limit(
    small_server: Engine, topic: str
) -> None:
    place, queue = await made(small_server, topic)
    await queue.append([message(b"first")])
    with pytest.raises((Partial, Uncertain)) as caught:
        await queue.append([message(b"before"), message(bytes(BYTES_MAX + 1)), message(b"behind")])
    outcomes = caught.value.outcomes if isinstance(caught.value, Partial) else [caught.value] * 3
    assert all(isinstance(each, EvermqError) for each in outcomes[1:])
    assert str(BYTES_MAX) in str(outcomes[1])
    assert await queue.backlog("a") <= 2  # what is behind it did not come
    await queue.append([message(b"last")])
    await place.drop(topic)
    await place.close()
