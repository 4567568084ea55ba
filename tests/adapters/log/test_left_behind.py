"""Loops that end or are interrupted, and a log that is closed meanwhile: nobody else waits for ever for it, and what
was told to be stored is."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.adapters.log.interrupts import interrupt_at

from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.errors import EvermqError, Unavailable
from evermq.message import MessageFactory

HANGS_S = 20
PLACES_MAX = 1000
LARGE = b"x" * 120_000  # no two of them go with one group
WRITERS = pytest.mark.parametrize("writer", ["thread", "loop"])
WHO = pytest.mark.parametrize("who", ["loop", "thread"])
T = TypeVar("T")
make = MessageFactory()


def opened(path: Path, writer: str, interval_ms: int = 3_600_000) -> tuple[LogPlace, LogQueue]:
    async def opening() -> tuple[LogPlace, LogQueue]:
        options: dict[str, Any] = {"writer": writer, "interval_ms": interval_ms, "segment_bytes": 1 << 20}
        place = await LogPlace.open(path, lanes=1, fsync="never", spares_max=0, message_bytes_max=1 << 17, **options)
        queue = await place.queue("orders")
        await queue.append([make(b"before")])
        return place, queue

    return asyncio.run(opening())


def append(queue: LogQueue, who: str, body: bytes) -> int:
    """Returns the offset."""
    message = make(body)
    found = asyncio.run(queue.append([message])) if who == "loop" else queue.append_blocking([message])
    return found[0].offset or 0


def begin(act: Callable[[], T]) -> Future[T]:
    """In a thread that nobody waits for at the end, since it may hang."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def stopped_with(queue: LogQueue, bodies: list[bytes]) -> tuple[asyncio.AbstractEventLoop, list[asyncio.Task[Any]]]:
    """A loop that was stopped when all of these were on their way, and is not closed."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(queue.append([make(body)])) for body in bodies]
    loop.call_soon(loop.stop)
    loop.run_forever()
    return loop, tasks


def end(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()


def bodies_in(path: Path) -> set[bytes]:
    async def found() -> set[bytes]:
        place = await LogPlace.open(path)
        reader = await (await place.queue("orders")).reader("audit")
        bodies: set[bytes] = set()
        while deliveries := await reader.read(count_max=1_000, wait_ms=0):
            bodies |= {delivery.message.body for delivery in deliveries}
            await reader.ack(deliveries)
        assert not place.damages
        await place.close()
        return bodies

    return asyncio.run(found())


class Gate:
    """Holds up the next write, when its bytes are in the file and it has not come back."""

    def __init__(self, place: LogPlace, patch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        file = type(place.journal.segments[-1].file)
        real = file.pwrite

        def pwrite(*arguments: Any, **named: Any) -> None:
            patch.setattr(file, "pwrite", real)
            real(*arguments, **named)
            self.begun.set()
            self.go_on.wait(HANGS_S)

        patch.setattr(file, "pwrite", pwrite)


@WRITERS
@WHO
def test_groups_of_a_loop_that_ended_hold_nobody_up(tmp_path: Path, writer: str, who: str) -> None:
    place, queue = opened(tmp_path, writer)
    left = stopped_with(queue, [LARGE] * 3)
    assert begin(lambda: append(queue, who, LARGE)).result(HANGS_S) <= 4
    end(*left)
    place.shut()


@WRITERS
@WHO
def test_group_of_a_loop_that_ended_while_another_one_wrote_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, who: str
) -> None:
    place, queue = opened(tmp_path, writer)
    gate = Gate(place, monkeypatch)
    first = begin(lambda: append(queue, "thread", b"first"))
    assert gate.begun.wait(HANGS_S)
    left = stopped_with(queue, [LARGE[:100_000]])
    last = begin(lambda: append(queue, who, LARGE))
    while len(place.committer._turns.pending) < 2:
        threading.Event().wait(0)
    gate.go_on.set()
    assert (first.result(HANGS_S), last.result(HANGS_S)) == (1, 3)
    end(*left)
    place.shut()


@WRITERS
@WHO
def test_log_is_closed_behind_who_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, who: str
) -> None:
    """Else the mark of its end is written over what is told to be stored."""
    place, queue = opened(tmp_path, writer)
    gate = Gate(place, monkeypatch)
    writing = begin(lambda: append(queue, who, b"written"))
    assert gate.begun.wait(HANGS_S)
    closing = begin(place.shut)
    is_joined = writer == "thread" and who == "loop"  # it ends with the writer thread then
    while not (closing.done() or (place._failure if is_joined else place.committer._turns.is_closing)):
        threading.Event().wait(0)
    gate.go_on.set()
    assert writing.result(HANGS_S) == 1
    closing.result(HANGS_S)
    assert bodies_in(tmp_path) == {b"before", b"written"}


@WRITERS
def test_log_that_many_append_to_is_closed(tmp_path: Path, writer: str) -> None:
    place, queue = opened(tmp_path, writer)
    told: set[bytes] = set()
    numbers = itertools.count()

    def append_on(who: str) -> int:
        while True:
            body = b"%d" % next(numbers)
            append(queue, who, body)
            told.add(body)

    others = [begin(partial(append_on, who)) for who in ("loop", "thread", "thread")]
    while len(told) < 100:
        threading.Event().wait(0)
    begin(place.shut).result(HANGS_S)
    for each in others:
        assert isinstance(each.exception(HANGS_S), EvermqError)
    assert told <= bodies_in(tmp_path)


def test_interrupted_loop_holds_nobody_up_nor_itself_when_it_runs_again(tmp_path: Path) -> None:
    for at in range(1, PLACES_MAX):
        place, queue = opened(tmp_path / str(at), "loop", interval_ms=10)
        loop = asyncio.new_event_loop()
        task = loop.create_task(queue.append([make(b"interrupted")]))
        is_interrupted = False
        try:
            with interrupt_at(at):
                loop.run_until_complete(task)
        except KeyboardInterrupt:
            is_interrupted = True
        others = [begin(partial(append, queue, who, b"behind")) for who in ("loop", "thread")]
        others = [each for each in others if not isinstance(each.exception(HANGS_S), EvermqError)]
        again = loop.create_task(queue.append([make(b"again")]))
        loop.run_until_complete(asyncio.wait([again], timeout=HANGS_S))
        assert again.done()
        stored = {each.result() for each in others}
        if not isinstance(again.exception(), EvermqError):
            stored.add(again.result()[0].offset or 0)
        assert stored <= set(range(place.journal.end(place.topics_by_number[1].number, 0)))
        end(loop, [task])
        with ThreadPoolExecutor(1) as pool:
            pool.submit(place.shut).result(HANGS_S)
        if not is_interrupted:
            return
    pytest.fail("it was interrupted everywhere, and no end was seen")


@pytest.mark.parametrize("count", [1, 2])
async def test_signal_handler_that_came_into_an_append_is_told_to_close_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    place = await LogPlace.open(tmp_path, lanes=1)
    queue = await place.queue("orders")
    queue.append_blocking([make("before")])
    file = type(place.journal.segments[-1].file)
    real, told = file.pwrite, []

    def pwrite(self: Any, *arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(file, "pwrite", real)
        with pytest.raises(Unavailable, match="in the middle of an append") as refused:
            place.shut()
        told.append(refused.value)
        real(self, *arguments, **named)

    monkeypatch.setattr(file, "pwrite", pwrite)
    assert queue.append_blocking([make("now")] * count)[0].offset == 1
    assert told
    await place.close()


def test_what_is_left_is_not_written_beside_the_thread_that_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it seemed left when the housekeeper looked."""
    place, queue = opened(tmp_path, "thread")
    gate = Gate(place, monkeypatch)
    first = begin(lambda: append(queue, "loop", b"first"))
    assert gate.begun.wait(HANGS_S)
    second = begin(lambda: append(queue, "loop", b"second"))
    while not place.committer._turns.pending:
        threading.Event().wait(0)
    monkeypatch.setattr(place.committer._turns, "is_left", lambda sequence: True)
    place.committer.write_left()
    assert place.committer._turns.pending
    gate.go_on.set()
    assert (first.result(HANGS_S), second.result(HANGS_S)) == (1, 2)
    place.shut()
