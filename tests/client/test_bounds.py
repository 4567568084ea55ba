"""What a producer or consumer would do nothing with, or no sense, is refused where it is made."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Backoff, Consumer, Producer, blocking
from evermq.errors import Misconfigured
from evermq.port import Start

QUEUE = MemoryQueue("t")


def producer(**numbers: Any) -> object:
    return Producer(QUEUE, **numbers)


def consumer(**numbers: Any) -> object:
    return Consumer(QUEUE, "g", **numbers)


def blocking_consumer(**numbers: Any) -> object:
    return blocking.Consumer(QUEUE, "g", **numbers)


def blocking_handle(**numbers: Any) -> object:
    blocking.Consumer(QUEUE, "g").handle(print, **numbers)
    return None


# What each takes, and the least of it.
LEAST: list[tuple[Callable[..., object], str, int]] = [
    (producer, "batch_count_max", 1),
    (producer, "batch_bytes_max", 1),
    (producer, "linger_ms", 0),
    (producer, "memory_bytes_max", 1),
    (producer, "retry_ms_max", 0),
    (consumer, "concurrency", 1),
    (consumer, "batch_count_max", 1),
    (consumer, "attempts_max", 1),
    (blocking_consumer, "batch_count_max", 1),
    (Backoff, "first_ms", 0),
    (Backoff, "max_ms", 0),
]
HANDLED: list[tuple[Callable[..., object], str, int]] = [
    (blocking_handle, name, least) for make, name, least in LEAST if make is consumer
]


@pytest.mark.parametrize(("make", "name", "least"), LEAST + HANDLED)
@pytest.mark.parametrize("wrong", [-1, -1_000, "7", 2.5, None])
def test_number_out_of_its_range_is_refused_with_its_name_and_range(
    make: Callable[..., object], name: str, least: int, wrong: Any
) -> None:
    for value in (wrong, least - 1):
        with pytest.raises(Misconfigured) as caught:
            make(**{name: value})
        assert str(caught.value) == f"{name} = {value!r}: give a whole number from {least} on"


@pytest.mark.parametrize(("make", "name", "least"), LEAST)
def test_least_number_is_taken(make: Callable[..., object], name: str, least: int) -> None:
    assert make(**{name: least})


# What is no handler, queue and so on, with the field and what to give instead.
WRONG: list[tuple[str, Any, str]] = [
    ("handler", "x", "give a function of one delivery"),
    ("dead", "orders.dead", "give a queue"),
    ("queue", None, "give a queue"),
    ("backoff", 5, "give a Backoff"),
    ("start", "oldest", "give a Start"),
    ("on_error", 5, "give a function of one error"),
]


@pytest.mark.parametrize(("name", "wrong", "said"), WRONG)
def test_what_a_consumer_cannot_use_is_refused_where_it_is_made(name: str, wrong: Any, said: str) -> None:
    given: dict[str, Any] = {"queue": QUEUE, "group": "g", "handler": print, name: wrong}
    with pytest.raises(Misconfigured, match=f"{name} = {wrong!r}: {said}"):
        Consumer(**given)
    if name in ("queue", "start"):
        with pytest.raises(Misconfigured, match=f"{name} = {wrong!r}: {said}"):
            blocking.Consumer(given["queue"], "g", start=given.get("start", Start.OLDEST))


def test_callback_that_cannot_be_called_is_refused_where_the_producer_is_made() -> None:
    with pytest.raises(Misconfigured, match="on_outcome = 5: give a function"):
        producer(on_outcome=5)


def test_handler_by_decorator_is_asked_as_well() -> None:
    with pytest.raises(Misconfigured, match="handler = 5: give a function"):
        Consumer(QUEUE, "g")(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Producer, Consumer, blocking.Producer, blocking.Consumer, Backoff])
def test_no_number_is_left_out(kind: type) -> None:
    asked = {Producer: producer, Consumer: consumer, blocking.Consumer: blocking_consumer}.get(kind, kind)
    numbers = {name for name, each in inspect.signature(kind).parameters.items() if each.annotation == "int"}
    assert numbers == {name for make, name, _ in LEAST if make is asked}
