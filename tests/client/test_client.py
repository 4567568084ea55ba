"""Producer and Consumer: batches, order per key, retries, dead letters, graceful stop."""

import asyncio
import signal
import threading
from collections import defaultdict

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import Backoff, Consumer, Producer, blocking
from evermq.errors import Closed, Overloaded, Rejected, Unavailable, Uncertain
from evermq.message import Message
from evermq.port import Delivery
from evermq.testing.faulty import Fault, Faulty

QUICK = Backoff(first_ms=1, max_ms=5)


async def test_sends_of_one_turn_go_in_one_append() -> None:
    queue = MemoryQueue("t", lanes=1)
    sizes: list[int] = []
    append = queue.append

    async def counted(messages: list[Message]) -> object:
        sizes.append(len(messages))
        return await append(messages)

    queue.append = counted  # type: ignore[method-assign, assignment]
    async with Producer(queue) as producer:
        await asyncio.gather(*[producer.send(b"x") for _ in range(100)])
    assert sizes == [100]


async def test_close_flushes_and_then_refuses() -> None:
    queue = MemoryQueue("t")
    producer = Producer(queue)
    for i in range(10):
        producer.send_nowait(b"%d" % i)
    await producer.close()
    assert await queue.backlog("g") == 10
    with pytest.raises(Closed):
        await producer.send(b"late")


async def test_one_way_send_is_refused_when_memory_is_full() -> None:
    producer = Producer(MemoryQueue("t"), memory_bytes_max=100)
    producer.send_nowait(b"x" * 90)
    with pytest.raises(Overloaded, match="memory_bytes_max"):
        producer.send_nowait(b"x" * 90)
    await producer.close()


async def test_error_goes_to_the_caller_when_no_retry_is_wanted() -> None:
    queue = Faulty(MemoryQueue("t"))
    queue.down()
    async with Producer(queue) as producer:
        with pytest.raises(Unavailable):
            await producer.send(b"x")


async def test_refusal_of_a_second_try_does_not_settle_what_the_first_may_have_stored() -> None:
    queue = Faulty(MemoryQueue("t"))
    queue.next(Fault.FORGET)
    queue.next(Fault.REJECT)
    async with Producer(queue, retry_ms_max=5_000) as producer:
        with pytest.raises(Uncertain):
            await producer.send(b"x")
    assert await queue.backlog("g") == 1


async def test_refusal_of_a_second_try_is_final_where_the_first_was_not_done() -> None:
    queue = Faulty(MemoryQueue("t"))
    queue.next(Fault.REFUSE)
    queue.next(Fault.REJECT)
    async with Producer(queue, retry_ms_max=5_000) as producer:
        with pytest.raises(Rejected):
            await producer.send(b"x")
    assert await queue.backlog("g") == 0


async def test_consumer_keeps_order_per_key_while_a_handler_fails() -> None:
    queue = MemoryQueue("t")
    seen: dict[bytes, list[int]] = defaultdict(list)
    failed: set[bytes] = set()
    done = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        message = delivery.message
        if message.body.endswith(b"5") and message.body not in failed:
            failed.add(message.body)
            raise ValueError("not yet")
        seen[message.key or b""].append(int(message.body))
        if sum(map(len, seen.values())) == 200:
            done.set()

    async with Producer(queue) as producer:
        for i in range(200):
            producer.send_nowait(b"%d" % i, key=f"k{i % 7}")
        await producer.flush()
    async with Consumer(queue, "g", handle, backoff=QUICK) as consumer, asyncio.timeout(20):
        await done.wait()
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert consumer.progress.retried == len(failed) == 20
    assert await queue.backlog("g") == 0


async def test_message_that_never_works_is_dead_lettered_and_says_why() -> None:
    queue, dead = MemoryQueue("t"), MemoryQueue("t.g.dead")

    def handle(delivery: Delivery) -> None:
        raise ValueError("never")

    async with Producer(queue) as producer:
        await producer.send(b"x", key="k", id="the-id")
    async with Consumer(queue, "g", handle, attempts_max=3, backoff=QUICK, dead=dead):
        reader = await dead.reader("ops")
        found = await reader.read(count_max=1, wait_ms=10_000)
    assert found[0].message.id == "the-id"
    assert found[0].message.headers["evermq-dead-attempts"] == "3"
    assert "never" in found[0].message.headers["evermq-dead-reason"]
    assert await queue.backlog("g") == 0


async def test_stop_gives_back_what_was_not_handled() -> None:
    queue = MemoryQueue("t")
    async with Producer(queue) as producer:
        await producer.send_many([b"%d" % i for i in range(10)])
    stuck = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        await stuck.wait()

    consumer = Consumer(queue, "g", handle)
    await consumer.start()
    await asyncio.sleep(0.05)
    await consumer.stop(drain_ms=10)
    assert await queue.backlog("g") == 10


def test_blocking_twins_send_and_read() -> None:
    queue = blocking.Queue(MemoryQueue("t"))
    with blocking.Producer(queue) as producer:
        producer.send_many([b"a", b"b"])
    with blocking.Consumer(queue, "g") as consumer:
        found = consumer.read()
        consumer.ack(*found)
    assert sorted(delivery.message.body for delivery in found) == [b"a", b"b"]
    assert queue.backlog("g") == 0


def test_blocking_handle_that_is_interrupted_finishes_what_is_held_first() -> None:
    queue, ended = blocking.Queue(MemoryQueue("t")), []
    main, interrupted = threading.main_thread().ident, threading.Event()
    assert main
    with blocking.Producer(queue) as producer:
        producer.send_many([b"a", b"b", b"c"])

    def handle(delivery: Delivery) -> None:
        if not interrupted.is_set():
            interrupted.set()
            signal.pthread_kill(main, signal.SIGINT)
        threading.Event().wait(0.05)
        ended.append(delivery.message.body)

    with blocking.Consumer(queue, "g") as consumer, pytest.raises(KeyboardInterrupt):
        consumer.handle(handle, concurrency=1)
    assert len(ended) == 1
    assert queue.backlog("g") == 2  # it saw none of these, so it had read none of them
