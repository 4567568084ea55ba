"""Producers and consumers without asyncio: the same things, driven by one event loop in a thread behind the scenes."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from reprlib import repr as short
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from evermq.client.bounds import check_kind, check_queue, check_whole
from evermq.client.consumer import Consumer as AsyncConsumer
from evermq.client.pace import Pace
from evermq.client.producer_batch import made_of
from evermq.client.reopened import Reopened
from evermq.clock import SYSTEM
from evermq.errors import Closed, Damaged, EvermqError, Misconfigured
from evermq.message import Message, MessageFactory
from evermq.port import AppendsBlocking, Delivery, Start
from evermq.port import Queue as AsyncQueue
from evermq.position import Position

__all__ = ["Consumer", "Producer", "Queue", "run"]

_log = logging.getLogger("evermq.consumer")
_PAUSE_MS = 200
_WAIT_MS = 1_000

P = ParamSpec("P")
T = TypeVar("T")


class _Loop:
    """The one loop of this process, begun with its first use."""

    _lock = threading.Lock()
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _pid = 0

    @classmethod
    def get(cls) -> asyncio.AbstractEventLoop:
        with cls._lock:
            if cls._loop is None:
                cls._loop = asyncio.new_event_loop()
                cls._pid = os.getpid()
                cls._thread = threading.Thread(target=cls._loop.run_forever, name="evermq-blocking", daemon=True)
                cls._thread.start()
            if cls._pid != os.getpid():
                raise Closed("evermq.client.blocking was used before a fork: use it first in the child")
            if cls._thread is threading.current_thread():
                raise Misconfigured(
                    "evermq.client.blocking was used in its own loop, by a handler that is a coroutine function, say, "
                    "and would wait for itself: make that a plain function, or use evermq.client instead"
                )
            return cls._loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the loop behind the scenes and wait for it; also to open a queue: `run(evermq.open(url))`.

    A KeyboardInterrupt cancels it. Raises Misconfigured in that loop itself.
    """
    if not asyncio.iscoroutine(work):
        raise Misconfigured(f"{short(work)} is not to be run: give a coroutine, as evermq.open(url) is one")
    try:
        loop = _Loop.get()
    except EvermqError:
        work.close()  # else Python warns that nobody awaited it
        raise
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def _call(verb: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs) -> T:
    """In the loop, so that nothing is begun where that cannot be used."""
    return await verb(*args, **options)


class Queue:
    """`evermq.port.Queue` for code without asyncio; from any thread.

    Where the queue behind it can append in the calling thread (the embedded log in the owning process), it does:
    no other thread is involved.
    """

    def __init__(self, queue: AsyncQueue) -> None:
        check_queue("append", queue=queue)
        self.queue = queue
        self.append: Callable[[Sequence[Message]], Sequence[Position]]
        self.append = queue.append_blocking if isinstance(queue, AppendsBlocking) else self._append

    @property
    def name(self) -> str:
        return self.queue.name

    def backlog(self, group: str, lane: str | None = None) -> int:
        return run(_call(self.queue.backlog, group, lane))

    def close(self) -> None:
        run(_call(self.queue.close))

    def _append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return run(_call(self.queue.append, messages))


class Producer:
    """Sends and waits for the acknowledgement; from any thread. Many threads that send at once share a flush."""

    def __init__(self, queue: Queue | AsyncQueue) -> None:
        self._append = (queue if isinstance(queue, Queue) else Queue(queue)).append
        self._closed = False
        self.message = MessageFactory()

    def send(
        self,
        body: bytes | str,
        *,
        key: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        delay_ms: int = 0,
        id: str | None = None,
    ) -> Position:
        """As the asyncio Producer's."""
        self._check()
        return self._append((self.message(body, key=key, headers=headers, delay_ms=delay_ms, id=id),))[0]

    def send_many(self, messages: Sequence[Message | bytes | str]) -> Sequence[Position]:
        """As the asyncio Producer's."""
        self._check()
        return self._append(made_of(messages, self.message))

    def close(self) -> None:
        """Refuse everything from now on; nothing is ever under way behind the caller's back."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._closed:
            raise Closed("this producer was closed: make another one")


class Consumer:
    """Iterate over deliveries and acknowledge each, or hand a plain function to `run`; for one thread.

    Leaving the `with` block gives back what was not acknowledged.
    """

    def __init__(
        self, queue: Queue | AsyncQueue, group: str, *, batch_count_max: int = 500, start: Start = Start.OLDEST
    ) -> None:
        check_whole(1, batch_count_max=batch_count_max)
        check_kind(Start, start=start)
        self._queue = queue.queue if isinstance(queue, Queue) else queue
        check_queue("reader", queue=self._queue)
        self._group = group
        self._damage = ""
        self._batch_count_max = batch_count_max
        self._start = start
        self._ahead: deque[Delivery] = deque()  # what a loop over this has not got to
        self._reader: Reopened | None = None
        self._closed = False

    def read(self, *, wait_ms: int = _WAIT_MS) -> list[Delivery]:
        """Some deliveries, or none after wait_ms; first what a loop that was left did not get to. What is damaged is
        logged and passed over; a reader that was lost is logged, and the next call opens another one."""
        if self._ahead:
            found = list(self._ahead)
            self._ahead.clear()
            return found
        return self._read(self._batch_count_max, wait_ms)

    def ack(self, *deliveries: Delivery) -> None:
        """Done with these."""
        run(_call(self._open().ack, deliveries))

    def release(self, *deliveries: Delivery, delay_ms: int = 0) -> None:
        """Let these come again."""
        run(_call(self._open().release, deliveries, delay_ms=delay_ms))

    def handle(self, handler: Callable[[Delivery], Any], **options: Any) -> None:
        """Hand every message to `handler` until a KeyboardInterrupt, which goes up once what is held is finished, as
        the asyncio Consumer's `stop` has it; a second one does not wait for that. Options as the asyncio Consumer's."""
        consumer = AsyncConsumer(self._queue, self._group, handler, start=self._start, **options)
        try:
            run(consumer.run())
        finally:
            run(consumer.stop())

    def close(self) -> None:
        """Give back what is not acknowledged; again is harmless."""
        if not self._closed:
            self._closed = True
            self._ahead.clear()
            if self._reader:
                run(_call(self._reader.close))

    def __iter__(self) -> Iterator[Delivery]:
        pace, count = Pace(SYSTEM, 1, self._batch_count_max), 0
        while not self._closed:
            if not self._ahead:
                self._ahead.extend(self._read(max(1, pace.look(count)), _WAIT_MS))
            pace.go()
            while self._ahead:
                count += 1
                yield self._ahead.popleft()
            pace.rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, count_max: int, wait_ms: int) -> list[Delivery]:
        try:
            return run(self._some(self._open(), count_max, wait_ms))
        except Damaged as error:
            if str(error) != self._damage:
                self._damage = str(error)
                _log.warning("group %s: %s", self._group, error)
            run(SYSTEM.sleep(_PAUSE_MS))  # where it cannot go on, it is the same damage again
            return []  # the next read goes on behind it

    async def _some(self, reader: Reopened, count_max: int, wait_ms: int) -> list[Delivery]:
        await reader.open()  # what this raises is for the caller: the queue, say, was closed
        try:
            return await reader.read(count_max=count_max, wait_ms=wait_ms)
        except Closed as error:
            if self._closed:
                raise
            _log.warning("group %s: its reader was lost, another one is opened: %s", self._group, error)
            await SYSTEM.sleep(_PAUSE_MS)
            return []

    def _open(self) -> Reopened:
        if self._closed:
            raise Closed("this consumer was closed: make another one")
        if self._reader is None:
            self._reader = Reopened(self._queue, self._group, self._start)
        return self._reader
