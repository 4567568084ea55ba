"""Group commit: many callers, one write at a time, one wake-up for all of an event loop.

Whoever has the turn takes everything that waits, writes it as one group, and tells the callers. The turn belongs
to the writer thread when an event loop asks, or to a blocking caller itself when nobody else is writing; a
blocking caller that finds the log busy waits, and may be handed the turn when it becomes free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

from evermq.adapters.log.batch import Batch, TopicLanes, assemble, load
from evermq.adapters.log.frame import Piece
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.ticket import Ticket
from evermq.errors import EvermqError, Rejected, TooLarge, Uncertain
from evermq.message import Message
from evermq.position import Position

__all__ = ["Committer"]

Loop = asyncio.AbstractEventLoop
_GROUP_BYTES_MAX = 4 << 20  # above it, page faults of the joined buffer cost more than another flush
_GROUP_BATCHES_MAX = 65_536
_OVERHEAD_BYTES = 64  # of a message beside its body, roughly
_ENCODED_FROM = 64  # messages; smaller batches are encoded together


class Committer:
    """`threaded=False` writes in the calling thread: for simulation and for tools without a loop.

    on_commit(pieces, segment): called after each group by whoever had the turn; returns the loops to be woken for it.
    on_wake(loop): called in each of those loops.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        message_bytes_max: int,
        threaded: bool = True,
        now_ms: Callable[[], int],
        on_commit: Callable[[list[Piece], int], set[Loop]],
        on_wake: Callable[[Loop], None],
    ) -> None:
        self._journal = journal
        self._message_bytes_max = message_bytes_max
        self._group_bytes_max = min(_GROUP_BYTES_MAX, journal.bytes_max // 4)
        self._now_ms = now_ms
        self._on_commit = on_commit
        self._on_wake = on_wake
        self._lock = Lock()
        self._pending: list[Batch] = []
        self._tickets: dict[Loop, Ticket] = {}
        self._kicked: set[Loop] = set()
        self._busy = False
        self._requests: SimpleQueue[bool] = SimpleQueue()
        self._writer: Thread | None = None
        if threaded:
            self._writer = Thread(target=self._serve, name="evermq-log-writer", daemon=True)
            self._writer.start()

    async def append(self, topic: TopicLanes, messages: Sequence[Message]) -> Sequence[Position]:
        """As Queue.append."""
        return await self.commit(self.batch(topic, messages))

    async def commit(self, batch: Batch) -> Sequence[Position]:
        """Commit a batch that is made already."""
        ticket = self.join(batch)
        try:
            await ticket.future
        except asyncio.CancelledError:
            await ticket.wait_on()
        return batch.result()

    def join(self, batch: Batch) -> Ticket:
        """Let a batch go with the next group; its ticket's future is done when it is."""
        loop = asyncio.get_running_loop()
        with self._lock:
            ticket = batch.ticket = self._ticket(loop, batch.size)
            self._pending.append(batch)
            if loop not in self._kicked:
                self._kicked.add(loop)
                loop.call_soon(self._kick, loop)
        return ticket

    def batch(self, topic: TopicLanes, messages: Sequence[Message]) -> Batch:
        """One append call, checked; encoded already, if it is large. Raises Unavailable, Rejected, TooLarge."""
        if self._journal.failure:
            self._journal.check()
        if len(messages) < _ENCODED_FROM:
            try:
                sizes = [len(message[2]) for message in messages]
            except TypeError as error:
                raise Rejected(f"a message's body is not bytes: {error}") from error
            self._check_sizes(sizes)
            return Batch(topic, messages, sum(sizes) + _OVERHEAD_BYTES * len(sizes))
        made = load(topic, messages, self._now_ms())
        if made.size > self._message_bytes_max:
            self._check_sizes([len(message[2]) for message in messages])
        return Batch(topic, messages, made.size, made)

    def _check_sizes(self, sizes: list[int]) -> None:
        if max(sizes) > self._message_bytes_max:
            raise TooLarge(f"a message of {max(sizes)} bytes is over message_bytes_max = {self._message_bytes_max}")
        size, size_max = sum(sizes), self._journal.bytes_max // 2
        if size > size_max:
            raise TooLarge(f"a batch of {size} bytes is over the limit of {size_max}: append it in parts")

    def _ticket(self, loop: Loop, size: int) -> Ticket:
        ticket = self._tickets.get(loop)
        if ticket is None or ticket.size + size > self._group_bytes_max:
            ticket = self._tickets[loop] = Ticket(loop)
        ticket.size += size
        ticket.outstanding += 1
        return ticket

    def append_blocking(self, topic: TopicLanes, messages: Sequence[Message]) -> Sequence[Position]:
        """As Queue.append, but the calling thread waits, and writes itself if nobody else does."""
        return self.commit_blocking(self.batch(topic, messages))

    def commit_blocking(self, batch: Batch) -> Sequence[Position]:
        """Commit a batch that is made already."""
        with self._lock:
            leads = not self._busy and not self._pending
            if leads:
                self._busy = True
            else:
                batch.latch = Lock()
                batch.latch.acquire()
                self._pending.append(batch)
        if leads:
            self._turn([batch])
        elif batch.latch:
            batch.latch.acquire()
            if batch.leads:
                self._turn(self._take())
        return batch.result()

    def quiet(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        with self._lock:
            return not self._busy and not self._pending

    def run_exclusively(self, work: Callable[[], None]) -> bool:
        """Do `work` in a turn of its own, unless somebody is writing; returns whether it was done."""
        with self._lock:
            if self._busy:
                return False
            self._busy = True
        try:
            work()
        finally:
            self._pass_on(set())
        return True

    def close(self) -> None:
        """Write what waits, then end the writer thread. No appends may come any more."""
        if self._writer:
            self._requests.put(False)
            self._writer.join()
            self._writer = None
        with self._lock:
            leads = not self._busy and bool(self._pending)
            self._busy = self._busy or leads
        if leads:
            self._turn(self._take())

    def _kick(self, loop: Loop) -> None:
        with self._lock:
            self._kicked.discard(loop)
            if self._busy or not self._pending:
                return
            self._busy = True
        if self._writer:
            self._requests.put(True)
        else:
            self._turn(self._take())

    def _serve(self) -> None:
        while self._requests.get():
            self._turn(self._take())

    def _take(self) -> list[Batch]:
        with self._lock:
            size = 0
            for count, batch in enumerate(self._pending):
                size += batch.size
                if (size > self._group_bytes_max and count) or count >= _GROUP_BATCHES_MAX:
                    taken, self._pending = self._pending[:count], self._pending[count:]
                    break
            else:
                taken, self._pending = self._pending, []
            self._tickets.clear()  # whoever comes later waits for a later group
        return taken

    def _turn(self, batches: list[Batch]) -> None:
        loops: set[Loop] = set()
        try:
            pieces = assemble(batches, self._journal.state.index.ends, self._now_ms())
            if pieces:
                loops = self._on_commit(pieces, self._journal.write(pieces))
        except TooLarge as error:
            if len(batches) > 1:  # keys and headers were larger than thought: each for itself
                self._one_by_one(batches)
            else:
                _fail(batches, error)
        except EvermqError as error:
            _fail(batches, error)
        except Exception as error:  # a defect of ours must not leave callers waiting for ever
            self._journal.failure = self._journal.failure or f"a defect ({error!r})"
            _fail(batches, Uncertain(f"the writer failed: {error!r}"))
        finally:
            self._tell(batches, loops)

    def _one_by_one(self, batches: list[Batch]) -> None:
        for batch in batches:
            try:
                pieces = assemble([batch], self._journal.state.index.ends, self._now_ms())
                if pieces:
                    self._on_commit(pieces, self._journal.write(pieces))
            except EvermqError as error:
                _fail([batch], error)

    def _tell(self, batches: list[Batch], loops: set[Loop]) -> None:
        done: dict[Loop, list[Ticket]] = {}
        for batch in batches:
            ticket = batch.ticket
            if ticket:
                ticket.outstanding -= 1
                if not ticket.outstanding:
                    done.setdefault(ticket.loop, []).append(ticket)
        for loop in self._pass_on(loops | done.keys()):
            self._call(loop, self._arrive, loop, done.get(loop, ()))
        for batch in batches:
            if batch.latch and not batch.leads:
                batch.latch.release()

    def _call(self, loop: Loop, function: Callable[..., None], *arguments: object) -> None:
        try:
            if self._writer:
                loop.call_soon_threadsafe(function, *arguments)
            else:
                loop.call_soon(function, *arguments)
        except RuntimeError:
            pass  # the loop was closed: nobody waits there any more

    def _pass_on(self, loops: set[Loop]) -> set[Loop]:
        """Hand the turn to a blocking caller that waits, or give it up; returns the loops to be told."""
        with self._lock:
            leader = next((batch for batch in self._pending if batch.latch), None)
            if leader:
                leader.leads = True
            else:
                self._busy = False
                loops = loops | {b.ticket.loop for b in self._pending if b.ticket}
        if leader and leader.latch:
            leader.latch.release()
        return loops

    def _arrive(self, loop: Loop, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            ticket.settle()
        self._on_wake(loop)
        # After the callers that were just woken, so that what they append next goes in one group.
        loop.call_soon(self._kick, loop)


def _fail(batches: list[Batch], error: EvermqError) -> None:
    for batch in batches:
        if not isinstance(batch.outcome, EvermqError):
            batch.outcome = error
