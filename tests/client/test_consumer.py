"""Consumer: outages of the handler, ends of every kind, and code of others that fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.adapters.memory.reader import MemoryReader
from evermq.client import Backoff, Consumer
from evermq.clock import SystemClock
from evermq.errors import Rejected
from evermq.message import Message, MessageFactory
from evermq.port import Delivery
from evermq.position import Position
from evermq.testing.faulty import Fault, Faulty, Verb

QUICK = Backoff(first_ms=1, max_ms=5)


async def filled(count: int) -> MemoryQueue:
    """A queue with so many messages, of a key each: their bodies are their numbers."""
    queue, message = MemoryQueue("t"), MessageFactory()
    await queue.append([message(b"%d" % number, key=b"%d" % number) for number in range(count)])
    return queue


async def settled(queue: MemoryQueue) -> None:
    async with asyncio.timeout(20):
        while await queue.backlog("g"):
            await asyncio.sleep(0.001)


async def test_handler_is_tried_again_and_again_where_there_are_no_dead_letters() -> None:
    queue, attempts = await filled(1), []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) < 10:
            raise ValueError("not yet")

    async with Consumer(queue, "g", handle, attempts_max=2, backoff=QUICK) as consumer:
        await settled(queue)
    assert attempts == [1, 1, *range(2, 10)]
    assert consumer.progress.released == 8


class Held:
    """A handler that ends when it is let go, and notes what it began and ended with."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.ended: list[bytes] = []
        self.go = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.begun.append(delivery.message.body)
        await self.go.wait()
        self.ended.append(delivery.message.body)

    async def has_begun(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.begun) < count:
                await asyncio.sleep(0.001)


async def test_run_that_is_cancelled_finishes_what_is_held_first() -> None:
    queue, held = await filled(10), Held()
    run = asyncio.create_task(Consumer(queue, "g", held.__call__, concurrency=2).run())
    await held.has_begun(2)
    run.cancel()
    await asyncio.sleep(0.01)
    assert not run.done()
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert len(held.ended) == len(held.begun) == 2
    assert await queue.backlog("g") == 8


async def test_run_returns_when_it_is_stopped() -> None:
    queue, held = await filled(1), Held()
    consumer = Consumer(queue, "g", held.__call__)
    run = asyncio.create_task(consumer.run())
    await held.has_begun(1)
    held.go.set()
    await consumer.stop()
    await run
    assert await queue.backlog("g") == 0


async def test_handler_may_stop_its_own_consumer() -> None:
    queue = await filled(2)

    async def handle(delivery: Delivery) -> None:
        await consumer.stop()

    consumer = Consumer(queue, "g", handle)
    async with asyncio.timeout(20):
        await consumer.run()
    assert await queue.backlog("g") == 0


async def test_second_stop_waits_for_the_first() -> None:
    queue, held = await filled(4), Held()
    consumer = Consumer(queue, "g", held.__call__)
    await consumer.start()
    await held.has_begun(4)
    stops = [asyncio.create_task(consumer.stop()) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not any(stop.done() for stop in stops)
    held.go.set()
    await asyncio.gather(*stops)
    await consumer.stop()
    assert len(held.ended) == 4
    assert await queue.backlog("g") == 0


async def test_stop_does_not_wait_for_handlers_that_others_cancelled() -> None:
    queue, held = await filled(4), Held()
    others = asyncio.all_tasks()
    consumer = Consumer(queue, "g", held.__call__)
    await consumer.start()
    await held.has_begun(4)
    for task in asyncio.all_tasks() - others:
        task.cancel()
    async with asyncio.timeout(20):
        await consumer.stop()
    assert await queue.backlog("g") == 4


async def test_acknowledgement_that_a_stop_interrupts_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, held, acks, ack = await filled(4), Held(), [], MemoryReader.ack

    async def hangs_at_first(reader: MemoryReader, deliveries: Sequence[Delivery]) -> None:
        acks.append(deliveries)
        if len(acks) == 1:
            await asyncio.Event().wait()
        await ack(reader, deliveries)

    monkeypatch.setattr(MemoryReader, "ack", hangs_at_first)
    held.go.set()
    async with Consumer(queue, "g", held.__call__):
        while not acks:
            await asyncio.sleep(0.001)
    assert await queue.backlog("g") == 0


async def test_acknowledgement_that_failed_is_repeated() -> None:
    """Else the reader would hold the message, and what is behind it, for ever."""
    inner = await filled(1)
    queue = Faulty(inner)
    queue.next(Fault.REFUSE, verb=Verb.ACK)
    handled = 0

    async def handler(delivery: Delivery) -> None:
        nonlocal handled
        handled += 1

    async with Consumer(queue, "g", handler):
        await settled(inner)
    assert handled == 1


async def test_handler_that_ends_with_the_cancellation_of_something_else_has_failed() -> None:
    queue, dead = await filled(4), MemoryQueue("dead")
    told: list[BaseException] = []

    async def handle(delivery: Delivery) -> None:
        if delivery.message.body == b"0":
            task = asyncio.create_task(asyncio.Event().wait())
            task.cancel()
            await task

    options = {"concurrency": 1, "attempts_max": 2, "backoff": QUICK, "dead": dead, "on_error": told.append}
    async with Consumer(queue, "g", handle, **options) as consumer:  # type: ignore[arg-type]
        await settled(queue)
    assert (consumer.progress.handled, consumer.progress.dead) == (3, 1)
    assert [type(error) for error in told] == [asyncio.CancelledError] * 2


async def test_handler_that_swallows_its_cancellation_does_not_hold_up_the_stop() -> None:
    queue, begun = await filled(1), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with asyncio.timeout(20):
        consumer = Consumer(queue, "g", handle)
        await consumer.start()
        await begun.wait()
        await consumer.stop(drain_ms=1)


async def test_callback_for_errors_that_fails_holds_up_nobody() -> None:
    queue, failed, raised = await filled(4), set(), []

    async def handle(delivery: Delivery) -> None:
        if delivery.message.body not in failed:
            failed.add(delivery.message.body)
            raise ValueError("not yet")

    def on_error(error: BaseException) -> None:
        raise KeyError("broken")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context["message"]))
    async with Consumer(queue, "g", handle, concurrency=1, backoff=QUICK, on_error=on_error):
        await settled(queue)
    assert raised == ["on_error failed for ValueError('not yet')"] * 4


class Fails(MemoryQueue):
    """Dead letters that cannot be appended at first, for a reason that is no error of evermq."""

    appends = 0

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.appends += 1
        if self.appends <= 3:
            raise OSError("no route")
        return await super().append(messages)


async def test_dead_letters_that_fail_are_tried_again() -> None:
    queue, dead = await filled(2), Fails("dead")
    told: list[BaseException] = []

    async def handle(delivery: Delivery) -> None:
        raise Rejected("never")

    async with Consumer(queue, "g", handle, concurrency=1, backoff=QUICK, dead=dead, on_error=told.append):
        await settled(queue)
    assert await dead.backlog("ops") == 2
    assert [str(error) for error in told if isinstance(error, OSError)] == ["no route"] * 3


async def test_reason_of_a_dead_letter_can_be_stored_whatever_the_error_quotes() -> None:
    queue, dead = await filled(1), MemoryQueue("dead")

    async def handle(delivery: Delivery) -> None:
        raise Rejected("half of \U0001f600 is \ud83d")

    async with Consumer(queue, "g", handle, dead=dead, on_error=lambda error: None):
        await settled(queue)
    [delivery] = await (await dead.reader("ops")).read(count_max=1, wait_ms=1_000)
    assert delivery.message.headers["evermq-dead-reason"] == "Rejected: half of \U0001f600 is \\ud83d"


async def test_reader_that_fails_is_tried_again_whatever_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, reads, read = await filled(1), [], MemoryReader.read

    async def fails_at_first(reader: MemoryReader, *, count_max: int, wait_ms: int) -> list[Delivery]:
        reads.append(count_max)
        if len(reads) == 1:
            raise OSError("no route")
        return await read(reader, count_max=count_max, wait_ms=wait_ms)

    monkeypatch.setattr(MemoryReader, "read", fails_at_first)
    async with Consumer(queue, "g", lambda delivery: None):
        await settled(queue)


async def test_failures_that_nobody_asked_for_are_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    class Hands(SystemClock):
        time_ms = 0

        def monotonic_ms(self) -> int:
            return self.time_ms

    queue, clock, failures = await filled(1), Hands(), 0

    async def handle(delivery: Delivery) -> None:
        nonlocal failures
        failures += 1
        if failures == 10:
            clock.time_ms += 10_000
        if failures <= 20:
            raise KeyError("bug in the handler")
        if failures <= 22:
            raise ValueError("another one")

    options: dict[str, Any] = {"attempts_max": 50, "backoff": QUICK, "clock": clock}
    async with Consumer(queue, "billing", handle, **options):
        async with asyncio.timeout(20):
            while await queue.backlog("billing"):
                await asyncio.sleep(0.001)
    records = [record for record in caplog.records if record.name == "evermq.consumer"]
    assert [record.levelname for record in records] == ["WARNING"] * 3
    [first, second, third] = [record.getMessage() for record in records]
    assert first.startswith("group billing: a handler failed: message ")
    assert "KeyError('bug in the handler')" in first
    assert second.endswith("(and 8 more since this was logged last)")
    assert "another one" in third
    assert records[0].exc_info


async def test_who_is_told_of_errors_has_them_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    queue, told = await filled(1), list[BaseException]()

    async def handle(delivery: Delivery) -> None:
        if not told:
            raise KeyError("once")

    async with Consumer(queue, "g", handle, backoff=QUICK, on_error=told.append):
        await settled(queue)
    assert len(told) == 1
    assert not caplog.records
