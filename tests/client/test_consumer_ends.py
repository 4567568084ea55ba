"""Consumer: ends that handlers bring about, and handlers that do not end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Consumer
from evermq.clock import Clock
from evermq.errors import Closed, Misconfigured
from evermq.message import MessageFactory
from evermq.port import Delivery
from evermq.testing.simulation.loop import simulate


async def filled(count: int) -> MemoryQueue:
    queue, message = MemoryQueue("t"), MessageFactory()
    await queue.append([message(b"%d" % number, key=b"%d" % number) for number in range(count)])
    return queue


def test_stop_ends_though_a_handler_never_does(caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: Clock) -> None:
        queue, begun = MemoryQueue("t", clock=clock), asyncio.Event()
        await queue.append([MessageFactory(clock)(b"x")])
        over = False

        async def handle(delivery: Delivery) -> None:
            begun.set()
            while not over:
                with contextlib.suppress(asyncio.CancelledError):
                    await clock.sleep(1_000)

        consumer = Consumer(queue, "g", handle, clock=clock)
        run = asyncio.create_task(consumer.run())
        await begun.wait()
        async with asyncio.timeout(60):
            await consumer.stop(drain_ms=500)
            await run
        [again] = await (await queue.reader("g")).read(count_max=2, wait_ms=0)
        assert (again.message.body, again.attempt) == (b"x", 2)
        over = True
        await clock.sleep(2_000)
        assert await queue.backlog("g") == 1  # what ends after that acknowledges nothing

    simulate(1, main)
    assert "1 handlers go on" in caplog.text


class Stop(BaseException):
    """What no one who handles errors is meant to handle."""


async def raises(delivery: Delivery) -> None:
    raise Stop


async def cancels_its_own_task(delivery: Delivery) -> None:
    task = asyncio.current_task()
    assert task
    task.cancel()
    await asyncio.sleep(0)


def raises_in_a_thread(delivery: Delivery) -> None:
    raise Stop


ENDS: list[tuple[Callable[[Delivery], Coroutine[Any, Any, None] | None], type[BaseException]]] = [
    (raises, Stop),
    (raises_in_a_thread, Stop),
    (cancels_its_own_task, RuntimeError),
]


@pytest.mark.parametrize(("end", "kind"), ENDS)
async def test_handler_that_ends_its_task_ends_the_consumer(
    end: Callable[[Delivery], Any], kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    queue, told = await filled(3), list[BaseException]()
    async with asyncio.timeout(20):
        with pytest.raises(kind):
            await Consumer(queue, "g", end, concurrency=1, on_error=told.append).run()
    assert [type(error) for error in told] == [kind]
    assert "the consumer ends" in caplog.text
    assert await queue.backlog("g") == 3


async def test_consumer_that_was_started_gives_back_all_when_a_handler_ends_its_task() -> None:
    queue, told = await filled(3), asyncio.Event()
    consumer = Consumer(queue, "g", raises, concurrency=2, on_error=lambda error: told.set())
    async with asyncio.timeout(20), consumer:
        await told.wait()
        reader, found = await queue.reader("g"), list[Delivery]()
        while len(found) < 3:
            found += await reader.read(count_max=3, wait_ms=1_000)


async def pass_by(delivery: Delivery) -> None:
    pass


@pytest.mark.parametrize("handler", [pass_by, None])
async def test_consumer_that_was_stopped_is_not_used_again(handler: Any) -> None:
    consumer = Consumer(await filled(1), "g", handler)
    async with consumer:
        pass
    for act in (consumer.start, consumer.__aenter__, consumer.run, consumer.__aiter__().__anext__):
        with pytest.raises(Closed, match="was stopped: make another one"):
            await act()
    with pytest.raises(Closed, match="was stopped: make another one"):
        consumer(pass_by)


async def test_consumer_that_was_stopped_before_it_began_is_not_started() -> None:
    queue = await filled(1)
    consumer = Consumer(queue, "g", pass_by)
    await consumer.stop()
    with pytest.raises(Closed, match="was stopped: make another one"):
        await consumer.start()


async def test_handler_comes_before_the_start() -> None:
    async with Consumer(await filled(1), "g") as consumer:
        with pytest.raises(Misconfigured, match="before `start` or `async with`"):
            consumer(pass_by)
