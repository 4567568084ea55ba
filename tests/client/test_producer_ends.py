"""A producer whose tasks are cancelled, as at the end of the program, leaves nobody waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Producer, blocking
from evermq.errors import Closed, Misconfigured, Uncertain
from evermq.message import Message
from evermq.position import Position
from evermq.ticket import Ticket


class Hangs(MemoryQueue):
    """Appends that never end."""

    def __init__(self, appends_max: int = 1) -> None:
        super().__init__("t", lanes=1)
        self.appends_max = appends_max
        self.begun = 0

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.begun += 1
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("linger_ms", [0, 5, 3_600_000])
@pytest.mark.parametrize("kind", [MemoryQueue, lambda name: Hangs(), lambda name: Hangs(2)])
def test_program_ends_whatever_a_background_task_sends(kind: Any, linger_ms: int) -> None:
    was_late: list[bool] = []

    async def send_for_ever() -> None:
        limit = asyncio.timeout(20)
        try:
            async with limit, Producer(kind("t"), linger_ms=linger_ms) as producer:
                while True:
                    await producer.send(b"x")
        finally:
            was_late.append(limit.expired())

    async def main() -> None:
        tasks.append(asyncio.create_task(send_for_ever()))
        await asyncio.sleep(0.05)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(main())
    assert was_late == [False]


@pytest.mark.parametrize("appends_max", [1, 2])
async def test_what_is_under_way_is_uncertain_and_what_waits_was_not_sent(appends_max: int) -> None:
    queue, one_way = Hangs(appends_max), []
    others = asyncio.all_tasks()
    producer = Producer(queue, batch_count_max=2, on_outcome=lambda message, outcome: one_way.append(outcome))
    for _ in range(8):
        producer.send_nowait(b"x")
    while queue.begun < appends_max:
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    async with asyncio.timeout(20):
        await producer.close()
    assert [type(outcome) for outcome in one_way] == [Uncertain] * 2 * appends_max + [Closed] * (8 - 2 * appends_max)
    with pytest.raises(Closed, match="make another one"):
        await producer.send(b"x")


async def test_task_that_was_cancelled_before_it_began_leaves_nobody_waiting() -> None:
    others = asyncio.all_tasks()
    outcomes: list[object] = []
    producer = Producer(Hangs(), on_outcome=lambda message, outcome: outcomes.append(type(outcome)))
    producer.send_nowait(b"x")
    for task in asyncio.all_tasks() - others:
        task.cancel()
    async with asyncio.timeout(20):
        await producer.flush()
        await producer.close()
    assert outcomes == [Closed]


async def test_append_that_ends_with_the_cancellation_of_something_else_is_uncertain() -> None:
    class Cancelled(MemoryQueue):
        async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
            if messages[0].body == b"bad":
                raise asyncio.CancelledError
            return await super().append(messages)

    async with asyncio.timeout(20), Producer(Cancelled("t")) as producer:
        with pytest.raises(Uncertain, match="CancelledError"):
            await producer.send(b"bad")
        await producer.send(b"good")


def test_producer_of_a_loop_that_has_ended_is_closed() -> None:
    producer = Producer(MemoryQueue("t"))

    async def second() -> None:
        async with asyncio.timeout(20):
            with pytest.raises(Closed, match="make another one"):
                await producer.send(b"2")
            await producer.flush()
            await producer.close()

    asyncio.run(_sent(producer))
    asyncio.run(second())


async def _sent(producer: Producer) -> None:
    await producer.send(b"1")


def test_producer_of_another_loop_is_not_waited_for() -> None:
    producer = Producer(Hangs())
    first = asyncio.new_event_loop()

    async def begin() -> None:
        producer.send_nowait(b"1")

    async def second() -> None:
        async with asyncio.timeout(20):
            for act in (producer.send, lambda body: producer.flush()):
                with pytest.raises(Misconfigured, match="another event loop"):
                    await act(b"2")

    first.run_until_complete(begin())
    asyncio.run(second())
    for task in asyncio.all_tasks(first):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            first.run_until_complete(task)
    first.close()


@pytest.mark.parametrize("wrong", [None, 5, "orders", ["a"]])
@pytest.mark.parametrize("kind", [Producer, blocking.Producer, blocking.Queue])
def test_producer_of_no_queue_is_misconfigured(kind: Any, wrong: Any) -> None:
    with pytest.raises(Misconfigured, match=r"queue = .*: give a queue"):
        kind(wrong)


async def test_cancellation_is_not_lost_where_the_outcome_comes_at_the_same_time() -> None:
    """Else a task that sends again and again is not ended by being cancelled."""
    ticket = Ticket(asyncio.get_running_loop())

    async def wait() -> None:
        try:
            await ticket.future
        except asyncio.CancelledError:
            await ticket.wait_on()

    tasks = [asyncio.create_task(wait()) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    ticket.settle()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, False]
