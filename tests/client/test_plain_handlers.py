"""Plain functions as handlers: in threads of their own, as many as the consumer's concurrency."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

from evermq.adapters.memory import MemoryQueue
from evermq.client import Backoff, Consumer
from evermq.message import MessageFactory
from evermq.port import Delivery

QUICK = Backoff(first_ms=1, max_ms=5)


async def filled(count: int) -> MemoryQueue:
    queue, message = MemoryQueue("t"), MessageFactory()
    await queue.append([message(b"%d" % number) for number in range(count)])
    return queue


async def settled(queue: MemoryQueue) -> None:
    async with asyncio.timeout(20):
        while await queue.backlog("g"):
            await asyncio.sleep(0.001)


async def test_handler_that_raises_stop_iteration_has_failed() -> None:
    queue, dead = await filled(2), MemoryQueue("dead")

    def handle(delivery: Delivery) -> None:
        next(iter([]))

    async with Consumer(queue, "g", handle, concurrency=1, attempts_max=2, backoff=QUICK, dead=dead) as consumer:
        await settled(queue)
    assert (consumer.progress.dead, consumer.progress.retried) == (2, 2)
    [first, _] = await (await dead.reader("ops")).read(count_max=2, wait_ms=1_000)
    assert "StopIteration" in first.message.headers["evermq-dead-reason"]


async def test_handlers_run_side_by_side_and_leave_the_threads_of_the_loop_to_others() -> None:
    queue, together = await filled(100), threading.Barrier(101)

    def handle(delivery: Delivery) -> None:
        together.wait(20)

    async with asyncio.timeout(20), Consumer(queue, "g", handle, concurrency=100) as consumer:
        while together.n_waiting < 100:
            await asyncio.sleep(0.001)
        assert await asyncio.to_thread(lambda: "a thread for somebody else") == "a thread for somebody else"
        together.wait(20)
        await settled(queue)
    assert consumer.progress.handled == 100


async def test_threads_end_with_the_consumer() -> None:
    queue, threads = await filled(4), set[threading.Thread]()

    def handle(delivery: Delivery) -> None:
        threads.add(threading.current_thread())

    async with Consumer(queue, "g", handle):
        await settled(queue)
    async with asyncio.timeout(20):
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.001)
    assert threads


async def test_handler_sees_the_context_in_which_the_consumer_was_started() -> None:
    queue, tenant, seen = await filled(1), ContextVar("tenant", default=""), []
    tenant.set("seven")

    async with Consumer(queue, "g", lambda delivery: seen.append(tenant.get())):
        await settled(queue)
    assert seen == ["seven"]
