"""Group commit: many callers, one write at a time, one wake-up for all of an event loop.

Whoever has the turn takes everything that waits, writes it as one group, and tells the callers. The turn belongs
to the writer thread when an event loop asks (to the loop itself where there is no such thread), or to a blocking caller
itself when nobody else is writing; a blocking caller that finds the log busy waits, and may be handed the turn when it
becomes free.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import get_ident
from time import perf_counter
from typing import Any

from evermq.adapters.log.batch import (
    NOT_A_MESSAGE,
    Batch,
    assemble,
    check_dropped,
    check_sizes,
    encode_alone,
    fail_all,
    load,
    rejected,
)
from evermq.adapters.log.buffers import Buffers
from evermq.adapters.log.commit import Commit, Joint, Latch
from evermq.adapters.log.frame import Kind, Piece
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.load import TopicLanes
from evermq.adapters.log.turns import LOOPS, NOBODY, Holder, Turns, call_in
from evermq.adapters.log.writer import AGAIN_S, Writer
from evermq.errors import EvermqError, TooLarge, Uncertain
from evermq.message import Message
from evermq.position import Position, Run
from evermq.ticket import Ticket

__all__ = ["Committer"]

Loop = asyncio.AbstractEventLoop
News = dict[Loop, Any]
_NO_NEWS: News = {}
_COMMIT_BYTES_MAX = 4 << 20  # above it, page faults of the joined buffer cost more than another flush
_OVERHEAD_BYTES = 64  # of a message beside its body, roughly
_ENCODED_FROM = 64  # messages; smaller batches are encoded together


class Committer:
    """`threaded=False` has no thread: event loops write themselves. Else `start` comes before the first append.

    on_commit(topics, delayed): called after each group by whoever had the turn, with the numbers of its topics and its
    entries of messages that wait for their time, or did; returns by loop what is news there. It may not be called after
    a message alone, of a topic for which no reader waits.
    on_wake(loop, news): called in each of those loops.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        message_bytes_max: int,
        threaded: bool = True,
        now_ms: Callable[[], int],
        on_commit: Callable[[Iterable[int], Sequence[Piece]], News],
        on_wake: Callable[[Loop, Any], None],
    ) -> None:
        self.buffers = Buffers()
        self._journal = journal
        self._message_bytes_max = message_bytes_max
        self._commit_bytes_max = min(_COMMIT_BYTES_MAX, journal.bytes_max // 4)
        self._turns = Turns(self._commit_bytes_max)
        self._check_sizes = partial(check_sizes, bytes_max=message_bytes_max, batch_bytes_max=journal.bytes_max // 2)
        self.quiet, self.is_here = self._turns.quiet, self._turns.is_here
        self._now_ms = now_ms
        self._on_commit = on_commit
        self._on_wake = on_wake
        self._pending, self._lock, self._pace = self._turns.pending, self._turns.lock, self._turns.pace
        self._asked: Loop | None = None  # the loop that will take a turn, where loops write themselves
        if threaded:
            writer = self._turns.writer = Writer(partial(self._lead, LOOPS))
            journal.before_write = writer.begins

    def start(self) -> None:
        """Start the writer thread, if there is to be one. RuntimeError where the system has none."""
        if self._turns.writer:
            self._turns.writer.start()

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
        turns = self._turns
        with turns.lock:
            commit = turns.open(batch.size)
            commit.add(batch)
            ticket = commit.ticket(loop)
            if not turns.holder:
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
            self._check_sizes([message])
        loop = get_running_loop()
        turns, lock = self._turns, self._lock
        with lock:  # dearer than `acquire` and `try`, between which an interrupt would leave it taken for ever
            commit = self._pending[-1] if self._pending else None
            if commit and commit.size + size <= self._commit_bytes_max:
                commit.size += size
            else:
                commit = turns.open(size)
            joint = commit.joint
            if not joint or joint.topic is not topic or joint.loop is not loop:
                joint = commit.joint_of(topic, loop)
            added = joint.added
            added.append(message)
            is_busy = turns.holder
            if not is_busy and self._asked is not loop:
                self._begin(loop)
        if is_busy and commit.size >= self._pace.enough_bytes:
            self._pause(commit)
        return joint, len(added) - 1

    def _pause(self, commit: Commit) -> None:
        """Let the writer begin, where this group is large enough."""
        writer = self._turns.writer
        if writer and writer.is_asked and commit.size >= self._turns.pace.enough_bytes:
            writer.let_begin()

    def batch(self, topic: TopicLanes, messages: Sequence[Message]) -> Batch:
        """One append call, checked; encoded already, if it is large. Raises Unavailable, Rejected, TooLarge."""
        if self._journal.failure:
            self._journal.check()
        count = len(messages)
        if count >= _ENCODED_FROM:
            made = load(topic, messages, self._now_ms(), self.buffers)
            if made.size > self._message_bytes_max:
                self._check_sizes(messages)
            return Batch(topic, messages, made.size, made)
        try:
            size = len(messages[0][2]) if count == 1 else sum([len(message[2]) for message in messages])
        except NOT_A_MESSAGE as error:
            raise rejected(messages, error) from error
        if size > self._message_bytes_max:
            self._check_sizes(messages)
        return Batch(topic, messages, size + _OVERHEAD_BYTES * count)

    def append_blocking(self, topic: TopicLanes, messages: Sequence[Message]) -> Sequence[Position]:
        """As Queue.append, but the calling thread waits, and writes itself if nobody else does. It may be interrupted:
        then the others go on, and the message may be stored."""
        latch = None
        try:
            if len(messages) == 1 and not self._turns.holder:
                alone = self._append_alone(topic, messages[0])
                if alone:
                    return alone
            latch = Latch(self.batch(topic, messages))
            return self._append_among(latch)
        except EvermqError:
            raise
        except BaseException as error:
            doubt = self._leave(latch, error)
            if doubt and isinstance(error, Exception):
                raise doubt from error
            raise

    def _append_alone(self, topic: TopicLanes, message: Message) -> Run | None:
        """The shortest way, while nobody else appends: after every flush the processor's caches are cold, and each
        function more is felt. None where somebody does, or the message has a time to wait for."""
        turns, lock = self._turns, self._lock
        thread = get_ident()
        with lock:
            if turns.holder or turns.pending:
                return None
            turns.holder = thread
        news = _NO_NEWS
        try:
            run, news = self._write_one(topic, message)
        except EvermqError:
            raise
        except Exception as error:
            raise self._defect(error) from error
        except BaseException as error:
            self._defect(error)
            raise
        finally:
            with lock:
                is_quiet = not (news or turns.pending or turns.is_closing)
                if is_quiet:
                    turns.holder = NOBODY
            if not is_quiet:
                try:
                    self._tell(thread, None, news)
                except BaseException:
                    self._tell(thread, None, news)  # as in _lead
                    raise
        return run

    def _append_among(self, latch: Latch) -> Sequence[Position]:
        """Beside others, or more than a single message. Where nobody has the turn, what waits first goes first."""
        turns = self._turns
        with turns.lock:
            turns.add(latch)
            if not turns.holder:
                turns.holder = latch
        if turns.holder is latch:
            self._lead(latch)
        latch.wait()
        while turns.holder is latch:  # groups of loops may be before its own
            self._lead(latch)
            latch.wait()
        return latch.batch.result()

    def _leave(self, latch: Latch | None, error: BaseException) -> Uncertain | None:
        """This thread was interrupted: nobody must wait for it. Returns what is to be said where it may have begun to
        write, which closes the log."""
        holder = latch or get_ident()
        is_waiting = latch is not None and self._turns.withdraw(latch)
        doubt = self._defect(error) if self._turns.holder == holder and not is_waiting else None
        self._tell(holder, None, {})
        return doubt

    def write_left(self) -> None:
        """From time to time: write what waited the last time already, if nobody does. The loop that was to may have
        ended, or have lost its turn where it was interrupted."""
        if self._turns.is_left(self._journal.state.sequence):
            self._asked = None
            self._lead(get_ident())  # LOOPS may be the writer thread's by now

    def close(self) -> None:
        """End the writer thread, write what waits by now, and keep the turn: nobody may write while the log is closed.
        What comes meanwhile waits for `let_go`."""
        try:
            self._turns.close()
            for _ in range(len(self._pending)):
                self._lead(LOOPS)
        except BaseException:
            self.let_go()
            raise

    def let_go(self) -> None:
        """Nobody closes the log, or it is closed, as who still waits is told."""
        self._turns.is_closing = False
        self._tell(LOOPS, None, {})

    def _begin(self, loop: Loop) -> None:
        """Give the turn, which nobody has, to the writer thread. It sleeps until this thread lets the interpreter go,
        so whatever else this loop appends meanwhile goes with the same group. A loop that writes itself has the turn
        only once it does: it may end before."""
        turns = self._turns
        if turns.writer:
            turns.writer.ask()
            turns.holder = LOOPS  # now only: who comes in vain does no harm
        elif self._asked is not loop:
            self._asked = loop
            loop.call_soon(self._turn_of, loop)

    def _turn_of(self, loop: Loop) -> None:
        self._asked = None
        try:
            self._lead(get_ident())
        except Exception:  # as in Writer
            loop.call_later(AGAIN_S, self._turn_of, loop)

    def _lead(self, holder: Holder) -> bool:
        """Write what waits first, if it is this holder's turn, and tell; the turn is handed on even if the writing
        thread is interrupted. Returns whether there was something."""
        taken: list[Commit] = []
        news: News = {}
        try:
            if self._turns.take(holder, taken):
                news = self._write(taken[0].batches)
        except BaseException as error:  # Ctrl-C in the thread that writes: nobody knows how far it came
            for commit in taken:
                fail_all(commit.batches, self._defect(error))
            raise
        finally:
            try:
                self._tell(holder, taken[0] if taken else None, news)
            except BaseException:
                self._tell(holder, taken[0] if taken else None, news)  # it may not have come to everybody
                raise
        return bool(taken)

    def _write(self, batches: list[Batch]) -> News:
        """Write one group and set what became of its batches; returns by loop what is news there."""
        try:
            first = batches[0]
            if len(batches) == 1 and not first.load and len(first.messages) == 1:
                run, news = self._write_one(first.topic, first.messages[0])
                if run:
                    first.settle(run)
                    return news
            return self._write_all(batches)
        except TooLarge as error:
            calls = [call for batch in batches for call in batch.calls()]
            if len(calls) > 1:  # keys and headers were larger than thought: each for itself
                return self._one_by_one(calls)
            fail_all(batches, error)
        except EvermqError as error:
            fail_all(batches, error)
        except Exception as error:  # a defect of ours must not leave callers waiting for ever
            fail_all(batches, self._defect(error))
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

    def _write_one(self, topic: TopicLanes, message: Message) -> tuple[Run | None, News]:
        """As `_write`, of a single message; None where it has a time to wait for, which is not for here."""
        journal = self._journal
        check_dropped(topic)
        lane, encoded = encode_alone(topic, message)
        if not encoded:
            return None, _NO_NEWS
        if len(message[2]) > self._message_bytes_max:
            self._check_sizes([message])
        offset = journal.write_one(topic.number, lane, encoded)
        is_news = topic.waiting or journal.has_rolled
        return Run(topic.names[lane], offset, 1), self._on_commit((topic.number,), ()) if is_news else _NO_NEWS

    def _write_all(self, batches: list[Batch]) -> News:
        journal = self._journal
        pieces, loads = assemble(batches, journal.state.index.ends, self._now_ms(), self.buffers)
        try:
            if not pieces:
                return {}
            began = perf_counter()
            journal.write(pieces)
            waiting = self._pending[0].size if self._pending else 0
            self._turns.pace.note(sum([each.size for each in loads]), perf_counter() - began, waiting)
            delayed = [piece for piece in pieces if piece.kind in (Kind.DELAYED, Kind.DUE)]
            return self._on_commit({piece.topic for piece in pieces}, delayed)
        except TooLarge:  # what callers encoded is written again, each for itself
            theirs = {id(batch.load) for batch in batches}
            loads = [each for each in loads if id(each) not in theirs]
            raise
        finally:
            for each in loads:
                each.give_back()

    def _tell(self, holder: Holder, commit: Commit | None, news: News) -> None:
        """Hand the turn on or give it up, then wake everybody whom this commit or its messages concern. Again is
        harmless."""
        next_loops = self._turns.pass_on(holder)
        if commit is None and not (news or next_loops):
            return
        tickets = commit.tickets if commit else {}
        for loop in {*news, *tickets, *next_loops}:
            call_in(loop, self._arrive, loop, tickets.get(loop), news.get(loop))
        for latch in commit.latches if commit else ():
            latch.open()

    def _arrive(self, loop: Loop, ticket: Ticket | None, news: Any) -> None:
        if ticket:
            ticket.settle()
        if news:
            self._on_wake(loop, news)
        if self._pending:
            # After the callers that were just woken, so that what they append next goes in one group.
            loop.call_soon(self._kick, loop)

    def _kick(self, loop: Loop) -> None:
        turns = self._turns
        with turns.lock:
            if turns.pending and not turns.holder:
                self._begin(loop)
