"""A thread that is interrupted leaves nobody waiting, and tells nobody that what it may not have written is stored."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.log.interrupts import interrupt_at

from evermq.adapters.log.commit import Latch
from evermq.adapters.log.committer import Committer
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.turns import NOBODY
from evermq.errors import EvermqError, Unavailable, Uncertain
from evermq.message import MessageFactory
from evermq.position import Position

make = MessageFactory()
_HANGS_S = 20  # nobody waits so long who is not forgotten
_PLACES_MAX = 1000


async def open_queue(directory: Path) -> tuple[LogPlace, LogQueue]:
    place = await LogPlace.open(directory, segment_bytes=1 << 20, fsync="never", spares_max=0)
    queue = await place.queue("orders")
    queue.append_blocking([make("before")])
    return place, queue


def outcome_of(queue: LogQueue, body: str) -> Position | EvermqError:
    try:
        return queue.append_blocking([make(body)])[0]
    except EvermqError as error:
        return error


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Whose threads are not waited for at the end, since they may hang."""
    pool = ThreadPoolExecutor()
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0)


class Gate:
    """Stands in a write call until it is let go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.go_on.wait(_HANGS_S)


def waiting(place: LogPlace) -> int:
    """How many threads wait for the next group."""
    return sum(len(commit.latches) for commit in place.committer._turns.pending)


def when_it_writes(place: LogPlace, patch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Call act() in the thread that writes next, in its write call."""
    file = type(place.journal.segments[-1].file)
    real = file.pwrite

    def pwrite(self: Any, *arguments: Any, **named: Any) -> None:
        patch.setattr(file, "pwrite", real)
        act()
        real(self, *arguments, **named)

    patch.setattr(file, "pwrite", pwrite)


@pytest.mark.parametrize("count", [1, 2])
async def test_interrupted_writer_closes_the_log_and_hands_the_turn_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    place, queue = await open_queue(tmp_path)

    def interrupt() -> None:
        raise KeyboardInterrupt

    when_it_writes(place, monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        queue.append_blocking([make("lost")] * count)
    assert place.committer.quiet()
    with pytest.raises(Unavailable):
        queue.append_blocking([make("behind")])
    await place.close()


async def test_interrupted_while_it_waits_is_not_given_the_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, queue = await open_queue(tmp_path)
    gate = Gate()

    def interrupt(_: Latch) -> None:
        raise KeyboardInterrupt

    with threads() as pool:
        when_it_writes(place, monkeypatch, gate)
        other = pool.submit(outcome_of, queue, "other")
        gate.begun.wait(_HANGS_S)
        with monkeypatch.context() as patch:
            patch.setattr(Latch, "wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                queue.append_blocking([make("given up")])
        gate.go_on.set()
        assert isinstance(other.result(_HANGS_S), Position)
        assert isinstance(pool.submit(outcome_of, queue, "third").result(_HANGS_S), Position)
        async with asyncio.timeout(_HANGS_S):
            await queue.append([make("fourth")])
    reader = await queue.reader("audit")
    bodies = {delivery.message.body for delivery in await reader.read(count_max=10, wait_ms=0)}
    assert bodies == {b"before", b"other", b"third", b"fourth"}
    await place.close()


async def interrupted_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, arrange: Callable[..., Callable[[], list[Future[Any]]]]
) -> None:
    """arrange(place, queue, pool, patch): before the append that is interrupted; returns how to get the outcomes of
    the others."""
    for at in range(1, _PLACES_MAX):
        place, queue = await open_queue(tmp_path / str(at))
        with threads() as pool, monkeypatch.context() as patch:
            others = arrange(place, queue, pool, patch)
            is_interrupted = False
            try:
                with interrupt_at(at):
                    queue.append_blocking([make("interrupted")] * count)
            except KeyboardInterrupt:
                is_interrupted = True
            stored = [each.result(_HANGS_S) for each in others()]
            stored.append(pool.submit(outcome_of, queue, "behind").result(_HANGS_S))
        await check_told(queue, [each for each in stored if not isinstance(each, EvermqError)])
        await place.close()
        if not is_interrupted:
            return
    pytest.fail("it was interrupted everywhere, and no end was seen")


async def check_told(queue: LogQueue, positions: list[Position]) -> None:
    """Whatever was said to be stored is there."""
    reader = await queue.reader("audit")
    found = {delivery.position for delivery in await reader.read(count_max=100, wait_ms=0)}
    assert set(positions) <= found


@pytest.mark.parametrize("count", [1, 2])
async def test_interrupted_anywhere_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    def alone(*_: object) -> Callable[[], list[Future[Any]]]:
        return list

    await interrupted_everywhere(tmp_path, monkeypatch, count, alone)


@pytest.mark.parametrize("count", [1, 2])
async def test_interrupted_anywhere_while_another_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def another_waits(
        place: LogPlace, queue: LogQueue, pool: ThreadPoolExecutor, patch: pytest.MonkeyPatch
    ) -> Callable[[], list[Future[Any]]]:
        others: list[Future[Any]] = []

        def come() -> None:
            others.append(pool.submit(outcome_of, queue, "other"))
            until(lambda: waiting(place) or others[-1].done())

        when_it_writes(place, patch, come)
        return lambda: others

    await interrupted_everywhere(tmp_path, monkeypatch, count, another_waits)


async def test_interrupted_anywhere_between_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One writes; the one that is interrupted waits, is handed the turn, and another one waits for it."""

    def between(
        place: LogPlace, queue: LogQueue, pool: ThreadPoolExecutor, patch: pytest.MonkeyPatch
    ) -> Callable[[], list[Future[Any]]]:
        gate, seen = Gate(), itertools.count()
        when_it_writes(place, patch, gate)
        others = [pool.submit(outcome_of, queue, "first")]
        gate.begun.wait(_HANGS_S)
        wait = Latch.wait

        def wait_with_another(latch: Latch) -> None:
            if not next(seen):
                others.append(pool.submit(outcome_of, queue, "last"))
                until(lambda: waiting(place) > 1 or others[-1].done())
                gate.go_on.set()
            wait(latch)

        patch.setattr(Latch, "wait", wait_with_another)

        def outcomes() -> list[Future[Any]]:
            gate.go_on.set()
            return others

        return outcomes

    await interrupted_everywhere(tmp_path, monkeypatch, 1, between)


async def test_interrupted_anywhere_while_a_reader_waits(tmp_path: Path) -> None:
    """It is told of what was stored, if the log goes on: the next message may be long in coming."""
    for at in range(1, _PLACES_MAX):
        place, queue = await open_queue(tmp_path / str(at))
        reader = await queue.reader("audit")
        await reader.ack(await reader.read(count_max=10, wait_ms=0))
        waits = asyncio.create_task(reader.read(count_max=10, wait_ms=3_600_000))
        while not reader.is_waiting:
            await asyncio.sleep(0)
        is_interrupted = False
        try:
            with interrupt_at(at):
                queue.append_blocking([make("interrupted", key="the same lane")])
        except KeyboardInterrupt:
            is_interrupted = True
        if await queue.backlog("audit") and not place.has_failed:
            async with asyncio.timeout(_HANGS_S):
                await waits
        await place.close()
        await asyncio.gather(waits, return_exceptions=True)
        if not is_interrupted:
            return
    pytest.fail("it was interrupted everywhere, and no end was seen")


async def test_thread_that_comes_while_a_loop_is_about_to_go_on_writes_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop was told that it has the turn next, and has not come to it yet."""
    place, queue = await open_queue(tmp_path)
    gate = Gate()
    when_it_writes(place, monkeypatch, gate)
    first = asyncio.create_task(queue.append([make("first")]))
    await asyncio.to_thread(gate.begun.wait, _HANGS_S)
    second = asyncio.create_task(queue.append([make("second")]))
    await asyncio.sleep(0)
    gate.go_on.set()
    until(lambda: place.committer._turns.holder == NOBODY)
    with threads() as pool:
        assert isinstance(pool.submit(outcome_of, queue, "third").result(_HANGS_S), Position)
    async with asyncio.timeout(_HANGS_S):
        await asyncio.gather(first, second)
    await place.close()


@pytest.mark.parametrize("count", [1, 2])
async def test_want_of_memory_before_the_write_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    place, queue = await open_queue(tmp_path)

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "_write_one" if count == 1 else "_write_all", fail)
        with pytest.raises(Uncertain):
            queue.append_blocking([make("uncertain")] * count)
    assert place.committer.quiet()
    await place.close()
