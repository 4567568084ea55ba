"""Group commit: many callers, one write at a time, one wake-up for all of an event loop.

Whoever has the turn takes everything that waits, writes it as one group, and tells the callers. The turn belongs
to the writer thread when an event loop asks, or to a blocking caller itself when nobody else is writing; a
blocking caller that finds the log busy waits, and may be handed the turn when it becomes free.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from time import perf_counter
from typing import Any

from evermq.adapters.log.batch import NOT_A_MESSAGE, Batch, assemble, is_plain, load, piece_of, rejected
from evermq.adapters.log.buffers import Buffers
from evermq.adapters.log.commit import Commit, Joint, Latch
from evermq.adapters.log.frame import Piece
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.load import TopicLanes
from evermq.adapters.log.pace import Pace
from evermq.adapters.log.writer import Writer
from evermq.errors import EvermqError, TooLarge, Uncertain
from evermq.message import Message
from evermq.position import Position, Run
from evermq.ticket import Ticket

__all__ = ["Committer"]

Loop = asyncio.AbstractEventLoop
News = dict[Loop, Any]
_COMMIT_BYTES_MAX = 4 << 20  # above it, page faults of the joined buffer cost more than another flush
_OVERHEAD_BYTES = 64  # of a message beside its body, roughly
_ENCODED_FROM = 64  # messages; smaller batches are encoded together


class Committer:
    """`threaded=False` writes in the calling thread: for simulation and for tools without a loop.

    on_commit(pieces, segment): called after each group by whoever had the turn; returns by loop what is news there.
    on_wake(loop, news): called in each of those loops.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        message_bytes_max: int,
        threaded: bool = True,
        now_ms: Callable[[], int],
        on_commit: Callable[[list[Piece], int], News],
        on_wake: Callable[[Loop, Any], None],
    ) -> None:
        self.buffers = Buffers()
        self._journal = journal
        self._message_bytes_max = message_bytes_max
        self._commit_bytes_max = min(_COMMIT_BYTES_MAX, journal.bytes_max // 4)
        self._now_ms = now_ms
        self._on_commit = on_commit
        self._on_wake = on_wake
        self._lock = Lock()
        self._pending: deque[Commit] = deque()
        self._busy = False
        self._pace = Pace()
        self._writer = Writer(self._turn) if threaded else None
        if self._writer:
            journal.before_write = self._writer.begins

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
        loop = get_running_loop()
        with self._lock:
            commit = self._open(batch.size)
            commit.add(batch)
            ticket = commit.ticket(loop)
            busy, self._busy = self._busy, True
        if not busy:
            self._begin(loop)
        self._pause(commit)
        return ticket

    def join_one(self, topic: TopicLanes, message: Message) -> tuple[Joint, int]:
        """As `batch` and `join`, of a single message; returns where its outcome will stand. All in one function,
        since what is done for every message is what bounds the rate of single messages."""
        if self._journal.failure:
            self._journal.check()
        try:
            size = len(message[2]) + _OVERHEAD_BYTES
        except NOT_A_MESSAGE as error:
            raise rejected([message], error) from error
        if size > self._message_bytes_max:
            self._check_sizes([len(message[2])])
        loop = get_running_loop()
        lock = self._lock
        lock.acquire()  # `with` costs twice as much
        try:
            commit = self._pending[-1] if self._pending else None
            if commit and commit.size + size <= self._commit_bytes_max:
                commit.size += size
            else:
                commit = self._open(size)
            joint = commit.joint
            if not joint or joint.topic is not topic or joint.loop is not loop:
                joint = commit.joint_of(topic, loop)
            added = joint.added
            added.append(message)
            busy, self._busy = self._busy, True
        finally:
            lock.release()
        if not busy:
            self._begin(loop)
        elif commit.size >= self._pace.enough_bytes:
            self._pause(commit)
        return joint, len(added) - 1

    def _pause(self, commit: Commit) -> None:
        """Let the writer begin, where this group is large enough."""
        writer = self._writer
        if writer and writer.is_asked and commit.size >= self._pace.enough_bytes:
            writer.let_begin()

    def batch(self, topic: TopicLanes, messages: Sequence[Message]) -> Batch:
        """One append call, checked; encoded already, if it is large. Raises Unavailable, Rejected, TooLarge."""
        if self._journal.failure:
            self._journal.check()
        count = len(messages)
        if count >= _ENCODED_FROM:
            made = load(topic, messages, self._now_ms(), self.buffers)
            if made.size > self._message_bytes_max:
                self._check_sizes([len(message[2]) for message in messages])
            return Batch(topic, messages, made.size, made)
        try:
            size = len(messages[0][2]) if count == 1 else sum([len(message[2]) for message in messages])
        except NOT_A_MESSAGE as error:
            raise rejected(messages, error) from error
        if size > self._message_bytes_max:
            self._check_sizes([len(message[2]) for message in messages])
        return Batch(topic, messages, size + _OVERHEAD_BYTES * count)

    def _check_sizes(self, sizes: list[int]) -> None:
        if max(sizes) > self._message_bytes_max:
            raise TooLarge(f"a message of {max(sizes)} bytes is over message_bytes_max = {self._message_bytes_max}")
        size, size_max = sum(sizes), self._journal.bytes_max // 2
        if size > size_max:
            raise TooLarge(f"a batch of {size} bytes is over the limit of {size_max}: append it in parts")

    def _open(self, size: int) -> Commit:
        """The commit that takes `size` bytes more: the last one, if it has room, or another one."""
        pending = self._pending
        if pending:
            commit = pending[-1]
            together = commit.size + size
            if together <= self._commit_bytes_max:
                commit.size = together
                return commit
        commit = Commit()
        commit.size = size
        pending.append(commit)
        return commit

    def append_blocking(self, topic: TopicLanes, messages: Sequence[Message]) -> Sequence[Position]:
        """As Queue.append, but the calling thread waits, and writes itself if nobody else does."""
        if not self._busy and is_plain(messages):
            alone = self._append_alone(topic, messages[0])
            if alone:
                return alone
        batch = self.batch(topic, messages)
        latch = None
        with self._lock:
            if self._busy or self._pending:
                latch = Latch()
                commit = self._open(batch.size)
                commit.add(batch)
                commit.latches.append(latch)
            self._busy = True
        if latch is None:
            self._lead(None, [batch])
        else:
            latch.wait()
            if latch.leads:
                self._turn()
        return batch.result()

    def _append_alone(self, topic: TopicLanes, message: Message) -> Run | None:
        """The shortest way, while nobody else appends: after every flush the processor's caches are cold, and each
        function more is felt. None where somebody does."""
        with self._lock:
            if self._busy or self._pending:
                return None
            self._busy = True
        news: News = {}
        try:
            outcome, news = self._write_one(topic, message)
        except EvermqError:
            raise
        except Exception as error:
            raise self._defect(error) from error
        except BaseException as error:
            self._defect(error)
            raise
        finally:
            self._tell(None, news)
        return outcome

    def quiet(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        with self._lock:
            return not self._busy and not self._pending

    def close(self) -> None:
        """Write what waits, then end the writer thread. No appends may come any more."""
        if self._writer:
            self._writer.close()
            self._writer = None
        while self._pending:
            self._turn()

    def _begin(self, loop: Loop) -> None:
        """The turn is ours to give: to the writer thread. It sleeps until this thread lets the interpreter go, so
        whatever else this loop appends meanwhile goes with the same group."""
        if self._writer:
            self._writer.ask()
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        with self._lock:
            commit = self._pending.popleft() if self._pending else None
        self._lead(commit, commit.batches if commit else [])

    def _lead(self, commit: Commit | None, batches: list[Batch]) -> None:
        """Write and tell; the turn is handed on even if the writing thread is interrupted."""
        news: News = {}
        try:
            news = self._write(batches) if batches else news
        finally:
            self._tell(commit, news)

    def _write(self, batches: list[Batch]) -> News:
        """Write one group and set what became of its batches; returns by loop what is news there."""
        try:
            first = batches[0]
            if len(batches) == 1 and not first.load and is_plain(first.messages):
                position, news = self._write_one(first.topic, first.messages[0])
                first.settle(position)
                return news
            return self._write_all(batches)
        except TooLarge as error:
            calls = [call for batch in batches for call in batch.calls()]
            if len(calls) > 1:  # keys and headers were larger than thought: each for itself
                return self._one_by_one(calls)
            _fail(batches, error)
        except EvermqError as error:
            _fail(batches, error)
        except Exception as error:  # a defect of ours must not leave callers waiting for ever
            _fail(batches, self._defect(error))
        except BaseException as error:  # Ctrl-C in the thread that writes: nobody knows how far it came
            _fail(batches, self._defect(error))
            raise
        return {}

    def _one_by_one(self, batches: list[Batch]) -> News:
        news: News = {}
        for batch in batches:
            for loop, fresh in self._write([batch]).items():
                news[loop] = {**news.get(loop, {}), **fresh}
        return news

    def _defect(self, error: BaseException) -> Uncertain:
        self._journal.failure = self._journal.failure or f"a defect ({error!r})"
        return Uncertain(f"the writer failed: {error!r}")

    def _write_one(self, topic: TopicLanes, message: Message) -> tuple[Run, News]:
        """As `_write`, of a single message that need not wait for its time."""
        journal = self._journal
        piece = piece_of(topic, message, journal.state.index.ends)
        if len(message[2]) > self._message_bytes_max:
            self._check_sizes([len(message[2])])
        pieces = [piece]
        segment = journal.write(pieces)
        return Run(topic.names[piece[1]], piece[5], 1), self._on_commit(pieces, segment)

    def _write_all(self, batches: list[Batch]) -> News:
        journal = self._journal
        pieces, loads = assemble(batches, journal.state.index.ends, self._now_ms(), self.buffers)
        try:
            if not pieces:
                return {}
            began = perf_counter()
            segment = journal.write(pieces)
            waiting = self._pending[0].size if self._pending else 0
            self._pace.note(sum([each.size for each in loads]), perf_counter() - began, waiting)
            return self._on_commit(pieces, segment)
        finally:
            for each in loads:
                each.give_back()

    def _tell(self, commit: Commit | None, news: News) -> None:
        """Hand the turn on or give it up, then wake everybody whom this commit or its messages concern."""
        next_loops, next_latch = self._pass_on()
        if commit is None and not (news or next_loops or next_latch):
            return
        if next_latch:
            next_latch.open()
        tickets = commit.tickets if commit else {}
        for loop in {*news, *tickets, *next_loops}:
            self._call(loop, self._arrive, loop, tickets.get(loop), news.get(loop))
        for latch in commit.latches if commit else ():
            if not latch.leads:
                latch.open()

    def _pass_on(self) -> tuple[Iterable[Loop], Latch | None]:
        """Who goes on: a blocking caller that waits, else one of the loops that do, else nobody."""
        with self._lock:
            if not self._pending:
                self._busy = False
                return (), None
            commit = self._pending[0]
            if commit.latches:
                commit.latches[0].leads = True
                return (), commit.latches[0]
            if self._writer and commit.size >= self._pace.enough_bytes:
                self._writer.ask()
                return (), None
            self._busy = False
            return commit.tickets, None

    def _call(self, loop: Loop, function: Callable[..., None], *arguments: object) -> None:
        try:
            if self._writer:
                loop.call_soon_threadsafe(function, *arguments)
            else:
                loop.call_soon(function, *arguments)
        except RuntimeError:
            pass  # the loop was closed: nobody waits there any more

    def _arrive(self, loop: Loop, ticket: Ticket | None, news: Any) -> None:
        if ticket:
            ticket.settle()
        if news:
            self._on_wake(loop, news)
        if self._pending:
            # After the callers that were just woken, so that what they append next goes in one group.
            loop.call_soon(self._kick, loop)

    def _kick(self, loop: Loop) -> None:
        with self._lock:
            if self._busy or not self._pending:
                return
            self._busy = True
        self._begin(loop)


def _fail(batches: list[Batch], error: EvermqError) -> None:
    for each in (error, error.__cause__):
        if each:
            each.__traceback__ = None  # its frames hold the batches, which are to hold it: files would stay open
    for batch in batches:
        batch.fail(error)
