"""A queue that a URL opens can do what its engine's queue can do."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from evermq import half, port, settling
from evermq.adapters import open as opening
from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.memory.queue import MemoryQueue
from evermq.adapters.rabbitmq.queue import RabbitQueue
from evermq.adapters.redis.queue import RedisQueue
from evermq.adapters.rocketmq.queue import RocketQueue

OF_READERS = (settling.Ahead, settling.Pausable)
EXTRAS = [
    protocol
    for module in (port, settling, half)
    for _, protocol in inspect.getmembers(module, inspect.isclass)
    if getattr(protocol, "_is_runtime_protocol", False) and protocol not in OF_READERS
]


def offered(protocol: type) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_")]


@pytest.mark.parametrize("queue", [KafkaQueue, LogQueue, MemoryQueue, RabbitQueue, RedisQueue, RocketQueue])
@pytest.mark.parametrize("protocol", EXTRAS, ids=lambda protocol: protocol.__name__)
def test_extras_of_an_engine_are_those_of_a_queue_opened_by_its_url(queue: type, protocol: type) -> None:
    class Place:
        pass

    made: Any = object.__new__(queue)
    made.name = "orders"
    wrapped = opening._Owning(made, Place())  # type: ignore[arg-type]
    assert all(hasattr(wrapped, name) == hasattr(made, name) for name in offered(protocol))
