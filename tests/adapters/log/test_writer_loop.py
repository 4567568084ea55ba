"""A log without a thread for its writes: event loops write themselves, and leave nobody waiting when they end."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evermq.adapters.log.committer import Committer
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.open import open_log
from evermq.errors import Misconfigured
from evermq.message import MessageFactory

HANGS_S = 20
make = MessageFactory()


async def opened(path: Path) -> tuple[LogPlace, LogQueue]:
    place = await LogPlace.open(path, lanes=1, writer="loop")
    queue = await place.queue("orders")
    await queue.append([make(b"before")])
    return place, queue


async def append_one(queue: LogQueue, body: bytes) -> int:
    return (await queue.append([make(body)]))[0].offset or 0


async def test_what_a_loop_appends_in_one_turn_is_one_group_and_no_thread_writes_it(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    place, queue = await opened(tmp_path)
    groups = place.journal.state.sequence
    offsets = await asyncio.gather(*[append_one(queue, b"%d" % number) for number in range(16)])
    assert offsets == list(range(1, 17))
    assert place.journal.state.sequence == groups + 1
    assert "evermq-log-writer" not in {thread.name for thread in set(threading.enumerate()) - before}
    await place.close()


def test_loop_that_ends_before_its_turn_holds_nobody_up(tmp_path: Path) -> None:
    place, queue = asyncio.run(opened(tmp_path))
    loop = asyncio.new_event_loop()
    task = loop.create_task(queue.append([make(b"by a loop that ends")]))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert place.committer._turns.pending
    with ThreadPoolExecutor(1) as pool:
        [position] = pool.submit(queue.append_blocking, [make(b"by a thread")]).result(HANGS_S)
    assert position.offset == 2
    assert asyncio.run(asyncio.wait_for(append_one(queue, b"by another loop"), HANGS_S)) == 3
    task.cancel()
    loop.close()
    place.shut()


def test_loops_and_threads_take_turns(tmp_path: Path) -> None:
    place, queue = asyncio.run(opened(tmp_path))

    async def append_some() -> list[int]:
        return [await append_one(queue, b"awaited") for _ in range(50)]

    async def append_all() -> list[int]:
        return [offset for found in await asyncio.gather(*[append_some() for _ in range(4)]) for offset in found]

    def append_blocking() -> list[int]:
        return [queue.append_blocking([make(b"waited for"), make(b"too")])[0].offset or 0 for _ in range(100)]

    with ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(asyncio.run, append_all()) for _ in range(2)]
        threads = [pool.submit(append_blocking) for _ in range(2)]
        singles = [offset for each in loops for offset in each.result(HANGS_S)]
        pairs = [offset for each in threads for offset in each.result(HANGS_S)]
    assert sorted([*singles, *pairs, *[offset + 1 for offset in pairs]]) == list(range(1, 1 + 2 * 4 * 50 + 2 * 100 * 2))
    place.shut()


async def test_turn_that_could_not_end_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, queue = await opened(tmp_path)
    real = Committer._lead
    failed: list[int] = []

    def lead(self: Committer, holder: int) -> bool:
        if not failed:
            failed.append(holder)
            raise MemoryError
        return real(self, holder)

    monkeypatch.setattr(Committer, "_lead", lead)
    assert await asyncio.wait_for(queue.append([make(b"a")]), HANGS_S)
    assert failed
    await place.close()


async def test_what_waits_when_the_log_is_closed_is_written(tmp_path: Path) -> None:
    place, queue = await opened(tmp_path)
    waiting = asyncio.create_task(queue.append([make(b"a")]))
    await asyncio.sleep(0)
    await place.close()
    assert await asyncio.wait_for(waiting, HANGS_S)


async def test_slow_flush_of_another_thread_does_not_hold_the_loop_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, queue = await opened(tmp_path)
    file = type(place.journal.segments[-1].file)
    real, begun, go_on = file.pwrite, threading.Event(), threading.Event()

    def slow(*arguments: object, **options: object) -> object:
        begun.set()
        assert go_on.wait(HANGS_S)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(file, "pwrite", slow)
    blocking = asyncio.get_running_loop().run_in_executor(None, queue.append_blocking, [make(b"by a thread")])
    await asyncio.to_thread(begun.wait)
    waiting = asyncio.create_task(append_one(queue, b"by the loop"))
    before = time.monotonic()
    while time.monotonic() - before < 0.05:
        await asyncio.sleep(0.005)  # the loop turns
    assert not waiting.done()
    go_on.set()
    assert [each.offset for each in await asyncio.wait_for(blocking, HANGS_S)] == [1]
    assert await asyncio.wait_for(waiting, HANGS_S) == 2
    await place.close()


async def test_writer_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match='writer = "loops": give thread or loop'):
        await LogPlace.open(tmp_path, writer="loops")


async def test_who_comes_through_the_owner_may_name_another_writer(tmp_path: Path) -> None:
    owner = await open_log(tmp_path, writer="loop")
    guest = await open_log(tmp_path, writer="thread")
    assert await (await guest.queue("orders")).append([make(b"a")])
    await guest.close()
    await owner.close()
