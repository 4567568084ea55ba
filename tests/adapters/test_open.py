"""A queue that a URL opens can do what its engine's queue can do."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from evermq import half, port, settling
from evermq.adapters import open as opening
from evermq.adapters.kafka.queue import KafkaQueue
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.memory import MemoryPlace
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
    made.name, made._topic = "orders", SimpleNamespace(id="first")
    wrapped = opening.owning(made, Place())  # type: ignore[arg-type]
    assert all(has(wrapped, name) == has(made, name) for name in offered(protocol))


def has(queue: Any, name: str) -> bool:
    """Whether it does, though it was never made whole, so that nothing can be asked of it."""
    return inspect.getattr_static(queue, name, None) is not None


class Renewed(MemoryQueue):
    topic_id = "first"


def test_topic_that_is_made_anew_tells_so_through_its_url() -> None:
    """Readers that keep order take nothing that was read of the first one for read of the second."""
    queue = Renewed("orders")
    opened: Any = opening.owning(queue, MemoryPlace())
    told = [opened.topic_id]
    queue.topic_id = "second"
    assert isinstance(opened, settling.Identified)
    assert [*told, opened.topic_id] == ["first", "second"]
