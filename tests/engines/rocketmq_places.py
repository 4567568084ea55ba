"""A place of the real RocketMQ, for tests that differ in what they ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from evermq.adapters.address import parse
from evermq.adapters.rocketmq.connect import connect
from evermq.adapters.rocketmq.place import RocketPlace
from evermq.drills.engines.rocketmq import RocketMQ


def place_with(options: str) -> Callable[[RocketMQ], AsyncIterator[RocketPlace]]:
    """The fixture `place`. options: of its URL."""

    @pytest.fixture(name="place")
    async def fixture(rocketmq_server: RocketMQ) -> AsyncIterator[RocketPlace]:
        place = await connect(parse(rocketmq_server.url() + options, topic_needed=False))
        yield place
        await place.close()

    return fixture
