"""Reads a group and hands each message to a function, in order per key while keys run side by side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from evermq.client.attempts import Attempts, is_blameless, is_lost
from evermq.client.backoff import Backoff
from evermq.client.bounds import check_function, check_kind, check_queue, check_whole
from evermq.client.dead_letters import DeadLetters
from evermq.client.handling import Handler, Threads
from evermq.client.owed import Owed
from evermq.client.pace import Pace
from evermq.client.reopened import STOPPED, Reopened
from evermq.client.reports import OnError, Reports
from evermq.client.window import Window
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, EvermqError, Misconfigured, Rejected
from evermq.port import Delivery, Queue, Start
from evermq.ticket import is_cancelled

__all__ = ["Consumer", "Handler", "Progress"]

_log = logging.getLogger("evermq.consumer")
_POLL_MS = 1_000
_PAUSE_MS = 200
_DRAIN_MS = 30_000
_CANCEL_MS = 3_000
_OWED_MAX = 10  # times what is held


@dataclass(slots=True)
class Progress:
    """Counts since the start. read_ms: monotonic time of the last read that worked, to see a consumer that hangs."""

    handled: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    errors: int = 0
    read_ms: int = 0


class Consumer:
    """Use as `async with Consumer(queue, "billing", handler):`, or decorate the handler with `@consumer`, or
    iterate with `async for delivery in consumer` and acknowledge by `await consumer.ack(delivery)`.

    handler(delivery): a coroutine function, or a plain function, which runs in a thread of this consumer's own; when it
    returns the message is acknowledged. concurrency: handlers at a time. batch_count_max: messages a read; twice as
    many are held at most, and of slow handlers what they do in a second, or more of a few keys, where the others have
    nothing to do.
    attempts_max: after so many failed attempts, or at once when the handler raises Rejected, the message goes to `dead`
    and then is acknowledged; without `dead` it is released for `backoff.max_ms`, with everything behind it of its key,
    and handled again. Unavailable, Uncertain or Misconfigured of the handler counts as no attempt, and is tried again
    until it passes; what is another reader's by then is left to it. Of earlier consumers each time that the message was
    handed out counts as one attempt, however often it was tried then. on_error(error): told of everything that failed
    and is tried again, which without it is logged; what it raises goes to the loop's exception handler.
    """

    def __init__(
        self,
        queue: Queue,
        group: str,
        handler: Handler | None = None,
        *,
        concurrency: int = 16,
        batch_count_max: int = 500,
        attempts_max: int = 5,
        backoff: Backoff | None = None,
        dead: Queue | None = None,
        start: Start = Start.OLDEST,
        on_error: OnError | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        check_queue("reader", queue=queue)
        check_function("one delivery", handler=handler)
        check_function("one error", on_error=on_error)
        check_kind(Start, start=start)
        if backoff is not None:
            check_kind(Backoff, backoff=backoff)
        if dead is not None:
            check_queue("append", dead=dead)
        check_whole(1, concurrency=concurrency, batch_count_max=batch_count_max, attempts_max=attempts_max)
        self._group = group
        self._handler = handler
        self._concurrency = concurrency
        self._batch_count_max = batch_count_max
        self._attempts_max = attempts_max
        self._backoff = backoff or Backoff()
        self._dead = None if dead is None else DeadLetters(dead, queue.name, group)
        self._threads = Threads(concurrency)
        self._reports = Reports(group, on_error, clock)
        self._clock = clock
        self._reader = Reopened(queue, group, start)
        self._window = Window(2 * batch_count_max, Pace(clock, concurrency, 2 * batch_count_max))
        self._ahead: deque[Delivery] = deque()  # what a loop over this has not got to
        self._owed = Owed(self._reader.ack, _OWED_MAX * 2 * batch_count_max)
        self._tasks: list[asyncio.Task[None]] = []
        self._pauses: set[asyncio.Task[None]] = set()
        self._attempts: dict[Any, Attempts] = {}
        self._is_started = self._stopping = self._is_over = self._is_left = False
        self._failure: BaseException | None = None
        self._end: asyncio.Task[None] | None = None
        self.progress = Progress()

    def __call__(self, handler: Handler) -> Handler:
        """Set the handler; for use as a decorator, before the start. Raises Misconfigured, Closed."""
        check_function("one delivery", handler=handler)
        self._check()
        if self._is_started and not self._tasks:
            raise Misconfigured("this consumer was started without a handler: give one before `start` or `async with`")
        self._handler = handler
        return handler

    async def start(self) -> None:
        """Begin to read and handle, in tasks of their own. Raises Closed after a stop, or where one comes meanwhile."""
        self._check()
        await self._reader.open()
        self._check()
        self._is_started = True
        if self._handler and not self._tasks:
            jobs = [self._fetch(), self._acknowledge(), *(self._work() for _ in range(self._concurrency))]
            self._tasks = [asyncio.create_task(job) for job in jobs]
            for task in self._tasks:
                task.add_done_callback(self._ended)

    async def run(self) -> None:
        """Handle until this is cancelled, or another task calls `stop`; either way it ends as `stop` has it.

        Raises what a handler raised that is no Exception, which ends the consumer."""
        self._check()
        try:
            await self.start()
        except Closed:
            if not self._stopping:
                raise
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self.stop()
        if self._failure:
            raise self._failure

    async def stop(self, *, drain_ms: int = _DRAIN_MS) -> None:
        """Read no more, finish what is held within drain_ms, acknowledge it, give the rest back.

        There is one stop, which the first call begins: all calls wait for it, and it goes on if they are cancelled. A
        call by a handler of this consumer returns at once, since the stop waits for that handler. A handler that has
        not ended 3 s after it was cancelled is left behind: its message is given back, and what it does then counts for
        nothing."""
        end = self._stop(drain_ms)
        if asyncio.current_task() not in self._tasks:
            await asyncio.shield(end)

    async def ack(self, *deliveries: Delivery) -> None:
        """Done with these; for iteration."""
        await self._reader.ack(deliveries)

    async def release(self, *deliveries: Delivery, delay_ms: int = 0) -> None:
        """Let these come again; for iteration."""
        await self._reader.release(deliveries, delay_ms=delay_ms)

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        self._check()
        pace, count = Pace(self._clock, 1, self._batch_count_max), 0
        while not self._stopping:
            if not self._ahead:
                self._ahead.extend(await self._read(max(1, pace.look(count))))
            pace.go()
            while self._ahead and not self._stopping:
                count += 1
                yield self._ahead.popleft()
            pace.rest()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _check(self) -> None:
        if self._stopping:
            raise Closed(STOPPED)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """One of the tasks is over. Unless all were told to end, a handler has ended it, and so the consumer: with a
        worker less, and a key for which nobody cares, it would only look as if it went on."""
        if self._stopping and (task.cancelled() or self._failure):
            return
        if all(each.done() or each.cancelling() for each in self._tasks):
            return
        self._failure = RuntimeError("a handler cancelled the task that it ran in")
        if not task.cancelled():
            self._failure = task.exception() or RuntimeError("a task of the consumer ended")
        self._tell("the consumer ends", self._failure, is_logged=True)
        self._stop(_DRAIN_MS)

    def _stop(self, drain_ms: int) -> asyncio.Task[None]:
        self._stopping = True
        if self._end is None:
            self._end = asyncio.create_task(self._drain_and_close(drain_ms))
        return self._end

    async def _drain_and_close(self, drain_ms: int) -> None:
        try:
            for task in self._tasks[:1]:
                task.cancel()  # the one that reads
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_ms / 1000):
                    while not self._is_drained():
                        await self._clock.sleep(5)
        finally:
            self._is_over = True
            await self._cancel_all()
            self._is_left = True
            self._threads.close()
            await self._flush_acks()
            with contextlib.suppress(EvermqError):
                await self._reader.close()

    async def _cancel_all(self) -> None:
        tasks = [*self._tasks, *self._pauses]
        for task in tasks:
            task.cancel()
        if tasks and (deaf := (await asyncio.wait(tasks, timeout=_CANCEL_MS / 1000))[1]):
            said = "group %s: %d handlers go on though they were cancelled; their messages are given back"
            _log.warning(said, self._group, len(deaf))

    def _is_drained(self) -> bool:
        """Whether waiting helps no further: what is held waits for a further attempt, or nobody is left."""
        return len(self._pauses) >= self._window.count or all(task.done() for task in self._tasks)

    async def _read(self, count_max: int) -> list[Delivery]:
        """Some deliveries, or none after a while; a reader that fails is tried again, and opened again if closed."""
        try:
            found = await self._reader.read(count_max=count_max, wait_ms=_POLL_MS)
        except Exception as error:
            self._tell("a read failed", error)
            await self._clock.sleep(_PAUSE_MS)
            return []
        self.progress.read_ms = self._clock.monotonic_ms()
        return found

    async def _fetch(self) -> None:
        while True:
            await self._owed.wait_for_room()
            room = await self._window.wait_for_room()
            self._window.add(await self._read(min(room, self._batch_count_max)))

    async def _work(self) -> None:
        while not self._is_over:  # a handler may swallow the cancellation
            slot, delivery = await self._window.next()
            try:
                error = await _error_of(self._handle(delivery))
            except BaseException:
                self._window.drop(slot)  # it goes back when the reader is closed
                raise
            if self._is_left:
                return
            if error is None:
                self.progress.handled += 1
                self._finish(slot, delivery)
            else:
                self._tell("a handler failed", error, f": message {delivery.message.id}")
                await self._failed(slot, delivery, error)

    async def _handle(self, delivery: Delivery) -> None:
        assert self._handler is not None
        if self._dead is not None and delivery.attempt > self._attempts_max:
            raise Rejected(f"attempt {delivery.attempt} of {self._attempts_max}: earlier ones did not end")
        await self._threads.handle(self._handler, delivery)

    def _finish(self, slot: Any, delivery: Delivery) -> None:
        self._attempts.pop(slot, None)
        self._window.done(slot)
        self._owed.add(delivery)

    async def _failed(self, slot: Any, delivery: Delivery, error: BaseException) -> None:
        if is_lost(delivery):
            await self._leave_to_others(slot)
            return
        attempts = self._attempts.setdefault(slot, Attempts())
        attempts.add(error)
        attempt = delivery.attempt + attempts.counted - 1
        if not is_blameless(error) and (isinstance(error, Rejected) or attempt >= self._attempts_max):
            if self._dead is None:
                await self._give_back(slot, delivery)
                return
            if await self._bury(delivery, attempt, error):
                self._finish(slot, delivery)
                return
        self.progress.retried += 1
        self._pause(slot, self._backoff.wait_ms(attempts.failed, self._clock))

    def _pause(self, slot: Any, wait_ms: int) -> None:
        async def again() -> None:
            self._window.again(slot)

        self._later(wait_ms, again)

    def _later(self, wait_ms: int, act: Callable[[], Awaitable[None]]) -> None:
        async def wait() -> None:
            await self._clock.sleep(wait_ms)
            await act()

        task = asyncio.create_task(wait())
        self._pauses.add(task)
        task.add_done_callback(self._pauses.discard)

    async def _bury(self, delivery: Delivery, attempt: int, error: BaseException) -> bool:
        assert self._dead is not None
        refused = await _error_of(self._dead.append(delivery.message, attempt, error))
        if refused:
            what = f"{self._dead.name} did not take a dead letter, which is handled again and holds its key up"
            for_ever = isinstance(refused, Rejected)  # somebody has to do something about it
            self._tell(what, refused, f": message {delivery.message.id}", is_logged=for_ever)
            return False
        self.progress.dead += 1
        return True

    async def _give_back(self, slot: Any, delivery: Delivery) -> None:
        """The queue holds the key up. What waits here of the key goes back with it: not by itself where another
        producer sent it."""
        self._attempts.pop(slot, None)
        given = 0
        while read_meanwhile := self._window.held(slot)[given:]:
            error = await _error_of(self.release(*read_meanwhile, delay_ms=self._backoff.max_ms))
            if error:
                self._tell("a message could not be given back", error, f": message {delivery.message.id}")
                self._pause(slot, self._backoff.max_ms)
                return
            given += len(read_meanwhile)
        self.progress.released += 1
        self._window.drop(slot)

    async def _leave_to_others(self, slot: Any) -> None:
        """Another reader handles it. What waits here of its key must not be handled before it, and goes back as far as
        it is still this reader's: until then none of it is handled here."""
        self._attempts.pop(slot, None)
        held = self._window.held(slot)
        error = await _error_of(self.release(*held))
        if error:
            self._tell("messages could not be given back", error)
            self._later(_PAUSE_MS, lambda: self._leave_to_others(slot))
        else:
            self._window.drop_first(slot, len(held))

    async def _acknowledge(self) -> None:
        while True:
            await self._owed.wait()
            await self._flush_acks()

    async def _flush_acks(self) -> None:
        error = await _error_of(self._owed.pay())
        if error is None:
            return
        self._tell("an acknowledgement failed", error)
        if not self._stopping:
            await self._clock.sleep(_PAUSE_MS)
            self._owed.look()

    def _tell(self, what: str, error: BaseException, of: str = "", *, is_logged: bool = False) -> None:
        self.progress.errors += 1
        self._reports.tell(what, error, of, is_logged=is_logged)


async def _error_of(work: Awaitable[Any]) -> BaseException | None:
    """What it failed with, if it did. A cancellation of this task goes up; one of something that the work waited for is
    a failure."""
    try:
        await work
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        return error
    except Exception as error:
        return error
    return None
