"""Sends messages one by one or many at once; what is sent in one turn of the loop goes in one append."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, repeat
from types import TracebackType
from typing import Self

from evermq.client.appending import Beside, outcomes_of, outcomes_within
from evermq.client.bounds import check_function, check_queue, check_whole
from evermq.client.producer_batch import (
    Outcome,
    ProducerBatch,
    made_of,
    position_of,
    positions_of,
    size_of,
    size_of_all,
)
from evermq.client.waiters import Waiters
from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Misconfigured, Overloaded, Uncertain
from evermq.fields import refusal
from evermq.message import Message, MessageFactory
from evermq.port import OrdersAppends, Queue
from evermq.position import Position
from evermq.ticket import is_cancelled

__all__ = ["OnOutcome", "Producer"]

OnOutcome = Callable[[Message, Outcome], None]
_OVERHEAD = 256  # bytes of memory for a message of which body, key and headers are empty; its id is in them
_CLOSED = "this producer was closed, or its event loop ended: make another one"
_PART = 64  # messages of a batch, where several appends may be under way: fewer are not worth an append of their own


class Producer:
    """Use as `async with Producer(queue) as producer`.

    batch_count_max, batch_bytes_max: bounds of one append. linger_ms: how long a first message waits for others, unless
    they fill an append before (0: until the end of this turn of the loop). memory_bytes_max: of messages not yet
    settled, with 256 bytes for each beside body, key and headers; beyond it sends wait their turn and one-way sends
    raise Overloaded. retry_ms_max: how long a batch that is Unavailable or Uncertain is sent again, under the same ids
    and before anything later (0: the error goes to the callers at once). on_outcome(message, outcome): called for each
    one-way send; what it raises goes to the loop's exception handler.

    One append is under way at a time, or several where the queue orders them itself (`OrdersAppends`), so messages
    keep the order in which they were sent. What the queue refuses fails alone. A send that is cancelled may still go
    out. Leaving the `async with` block flushes. It belongs to the event loop of its first send, and is closed when the
    tasks of that are cancelled.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        batch_count_max: int = 500,
        batch_bytes_max: int = 1 << 20,
        linger_ms: int = 0,
        memory_bytes_max: int = 64 << 20,
        retry_ms_max: int = 0,
        on_outcome: OnOutcome | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        check_queue("append", queue=queue)
        check_function("a message and its outcome", on_outcome=on_outcome)
        check_whole(
            1, batch_count_max=batch_count_max, batch_bytes_max=batch_bytes_max, memory_bytes_max=memory_bytes_max
        )
        check_whole(0, linger_ms=linger_ms, retry_ms_max=retry_ms_max)
        self._queue = queue
        self._batch_count_max = batch_count_max
        self._batch_bytes_max = batch_bytes_max
        self._linger_ms = linger_ms
        self._memory_bytes_max = memory_bytes_max
        self._retry_ms_max = retry_ms_max
        self._on_outcome = on_outcome
        self._clock = clock
        self._waiting: deque[ProducerBatch] = deque()  # the last one may take more
        self._for_room = Waiters()
        self._bytes = 0  # of what is not settled
        self._news = asyncio.Event()
        self._full = asyncio.Event()
        self._open: dict[ProducerBatch, None] = {}  # begun, and not settled; oldest first
        self._flushes = 0  # that wait
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._appends_max = queue.appends_max if isinstance(queue, OrdersAppends) and not retry_ms_max else 1
        self._part = min(batch_count_max, _PART) if self._appends_max > 1 else batch_count_max
        self._under_way: set[asyncio.Task[None]] = set()
        self._beside = Beside()
        self.message = MessageFactory(clock)

    async def send(
        self,
        body: bytes | str,
        *,
        key: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        delay_ms: int = 0,
        id: str | None = None,
    ) -> Position:
        """Send one message and return where it landed once it is acknowledged; see `MessageFactory` and port.py."""
        message = self.message.make(body, key, headers, delay_ms, id)
        try:
            size = size_of(message) if key or headers else len(message.body)
        except TypeError as error:
            raise refusal((message,), error) from error
        if self._bytes + size > self._memory_bytes_max or self._for_room or self._closed:
            return await self.send_message(message)
        batch = self._batch_for(1, size)
        messages = batch.messages
        row = len(messages)
        messages.append(message)
        try:
            await batch.ticket.future
        except asyncio.CancelledError:  # as `settled` has it; a coroutine less for each message
            await batch.ticket.wait_on()
        outcome = batch.outcomes[row]
        return outcome if type(outcome) is Position else position_of(outcome)

    async def send_message(self, message: Message) -> Position:
        """As `send`, for a message that is made already (`producer.message(...)`)."""
        [outcome] = await self._send((message,), size_of(message))
        return position_of(outcome)

    async def send_many(self, messages: Sequence[Message | bytes | str]) -> Sequence[Position]:
        """Send many messages, or bodies, in order. Raises Partial where only some of them went in, or they failed by
        errors of different kinds."""
        made = made_of(messages, self.message)
        if not made:
            return ()
        outcomes = await self._send(made, size_of_all(made))
        return positions_of(outcomes)

    def send_nowait(
        self,
        body: bytes | str,
        *,
        key: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        delay_ms: int = 0,
        id: str | None = None,
    ) -> Message:
        """Send one way: returns at once, the outcome goes to on_outcome. Raises Overloaded at memory_bytes_max."""
        self._check()
        message = self.message.make(body, key, headers, delay_ms, id)
        size = size_of(message)
        if self._for_room or self._bytes + size > self._memory_bytes_max:
            raise Overloaded(f"memory_bytes_max = {self._memory_bytes_max} is full: await send(), or send less")
        batch = self._enter((message,), size)
        batch.one_way.append(len(batch.messages) - 1)
        return message

    async def flush(self) -> None:
        """Wait until everything sent so far is settled; until then nothing lingers."""
        if not self._open:
            return
        self._own_loop()
        self._flushes += 1
        self._full.set()
        try:
            for batch in tuple(self._open):
                await batch.settled()
        finally:
            self._flushes -= 1

    async def close(self) -> None:
        """Flush, then refuse everything with Closed, and at once what waits for room; again is harmless. The queue
        stays open."""
        self._refuse()
        await self.flush()
        if self._task and self._loop is asyncio.get_running_loop():
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, messages: Sequence[Message], size: int) -> Sequence[Outcome]:
        self._check()
        if self._is_short_of(size):
            await self._wait_for_room(size)
        entered: list[tuple[ProducerBatch, int, int]] = []
        for part, part_size in self._parts(messages, size):
            batch = self._enter(part, part_size)
            entered.append((batch, len(batch.messages) - len(part), len(batch.messages)))
        outcomes: list[Outcome] = []
        for batch, begin, stop in entered:
            await batch.settled()
            outcomes += batch.outcomes[begin:stop]
        return outcomes

    def _parts(self, messages: Sequence[Message], size: int) -> Iterator[tuple[Sequence[Message], int]]:
        """In order, and each with its size, which is within the bounds of an append unless one message is not."""
        if len(messages) <= self._batch_count_max and size <= self._batch_bytes_max:
            yield messages, size
            return
        begin = size = 0
        for at, more in enumerate(map(size_of, messages)):
            if at > begin and (at - begin == self._batch_count_max or size + more > self._batch_bytes_max):
                yield messages[begin:at], size
                begin, size = at, 0
            size += more
        yield messages[begin:], size

    def _is_short_of(self, size: int) -> bool:
        """Whether so many bytes have to wait for room."""
        return bool(self._for_room) or (self._bytes > 0 and not self._has_room(size))

    async def _wait_for_room(self, size: int) -> None:
        await self._for_room.wait(lambda: self._closed or not self._bytes or self._has_room(size))
        self._check()

    def _has_room(self, size: int) -> bool:
        return self._bytes + size <= self._memory_bytes_max

    def _enter(self, messages: Sequence[Message], size: int) -> ProducerBatch:
        """Put these at the end of the batch that they go with."""
        batch = self._batch_for(len(messages), size)
        batch.messages += messages
        return batch

    def _batch_for(self, count: int, size: int) -> ProducerBatch:
        """The batch with which so much goes; it is counted there already."""
        waiting = self._waiting
        batch = waiting[-1] if waiting else None
        if batch is None or len(batch.messages) + count > self._part or batch.size + size > self._batch_bytes_max:
            batch = self._begin()
        batch.size += size
        self._bytes += size + count * _OVERHEAD
        if self._linger_ms and self._is_full(count):
            self._full.set()
        return batch

    def _begin(self) -> ProducerBatch:
        loop = self._own_loop()
        batch = ProducerBatch(loop)
        self._waiting.append(batch)
        self._open[batch] = None
        if len(self._waiting) == 1:
            self._news.set()
            if self._task is None:
                self._task = loop.create_task(self._run())
                self._task.add_done_callback(self._ended)
        return batch

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        """That of the first send. Raises Misconfigured in another one, where what is sent would wait for ever."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise Misconfigured("this producer belongs to another event loop: make one in each")
        return loop

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            if self._linger_ms:
                await self._linger()
            while self._waiting:
                if self._appends_max == 1:
                    await self._append(self._take())
                elif len(self._under_way) < self._appends_max:
                    self._append_beside(self._take())
                else:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            self._news.clear()

    async def _linger(self) -> None:
        """Wait for others, but not once they fill an append, or somebody waits for what is here."""
        self._full.clear()
        if self._flushes or self._is_full():
            return
        ends = [asyncio.ensure_future(end) for end in (self._clock.sleep(self._linger_ms), self._full.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def _append_beside(self, batches: list[ProducerBatch]) -> None:
        task = asyncio.create_task(self._append(batches))
        self._under_way.add(task)
        task.add_done_callback(partial(self._done, batches))

    def _done(self, batches: list[ProducerBatch], task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not batches[0].ticket.is_settled:  # it was cancelled before it began
            self._settle(batches, repeat(Closed(_CLOSED)))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nothing is sent any more: this was closed, or all tasks of the loop were cancelled, as at its end."""
        self._task = None
        self._refuse()
        waiting = list(self._waiting)
        self._waiting.clear()
        self._settle(waiting, repeat(Closed(_CLOSED)))

    def _refuse(self) -> None:
        self._closed = True
        self._for_room.wake_all()

    def _is_full(self, coming: int = 0) -> bool:
        """Whether as much waits as an append may carry. coming: messages that are about to be put in their batch."""
        count, size = coming, 0
        for batch in self._waiting:
            count += len(batch.messages)
            size += batch.size
            if count >= self._batch_count_max or size >= self._batch_bytes_max:
                return True  # looked at with each send, and far more may wait than that
        return False

    def _take(self) -> list[ProducerBatch]:
        """What the next append carries; where many wait, a part, so that work on the others and the engine overlap."""
        limit = len(self._waiting)
        if self._appends_max > 1:
            limit = -(-limit // (self._appends_max - len(self._under_way)))
        taken = [self._waiting.popleft()]
        count, size = len(taken[0].messages), taken[0].size
        while self._waiting and len(taken) < limit:
            batch = self._waiting[0]
            count += len(batch.messages)
            size += batch.size
            if count > self._batch_count_max or size > self._batch_bytes_max:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _append(self, batches: list[ProducerBatch]) -> None:
        messages = batches[0].messages if len(batches) == 1 else [m for batch in batches for m in batch.messages]
        try:
            outcomes: Sequence[Outcome] = list(await self._outcomes(messages))
            if len(outcomes) != len(messages):
                raise ValueError(f"{len(outcomes)} positions for {len(messages)} messages")
        except BaseException as error:  # neither a defect below nor a cancellation may leave callers waiting for ever
            self._settle(batches, repeat(Uncertain(f"the queue failed: {error!r}")))
            if not isinstance(error, Exception | asyncio.CancelledError) or is_cancelled():
                raise
        else:
            self._settle(batches, outcomes)

    def _settle(self, batches: list[ProducerBatch], outcomes: Iterable[Outcome]) -> None:
        """Tell the callers of these batches, all at once, what became of their messages."""
        each = iter(outcomes)
        for batch in batches:
            del self._open[batch]
            self._bytes -= batch.size + len(batch.messages) * _OVERHEAD
            batch.settle(list(islice(each, len(batch.messages))))
        self._for_room.wake()
        if self._on_outcome:
            for batch in batches:
                for row in batch.one_way:
                    self._tell(self._on_outcome, batch.messages[row], batch.outcomes[row])

    def _tell(self, on_outcome: OnOutcome, message: Message, outcome: Outcome) -> None:
        try:
            on_outcome(message, outcome)
        except Exception as error:  # else all that is sent later would wait for ever
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"on_outcome failed for message {message.id}", "exception": error}
            )

    async def _outcomes(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        append = self._queue.append
        if self._appends_max > 1:
            return await self._beside.outcomes_of(append, messages)
        if not self._retry_ms_max:
            return await outcomes_of(append, messages)
        return await outcomes_within(self._retry_ms_max, append, messages, self._clock)

    def _check(self) -> None:
        if self._closed:
            raise Closed(_CLOSED)
