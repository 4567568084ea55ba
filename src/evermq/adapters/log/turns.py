"""Whose turn it is to write, and what waits for the next one.

A thread may be interrupted between any two steps of it, by what a signal handler raises or for want of memory. So
whose turn it is stands in one place, only whom it belongs to gives it up, and whoever comes to hand it on again tells
those who go on once more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock, get_ident
from time import sleep

from evermq.adapters.log.commit import Commit, Latch
from evermq.adapters.log.pace import Pace
from evermq.adapters.log.writer import Writer

__all__ = ["LOOPS", "NOBODY", "Holder", "Turns", "call_in"]

Holder = Latch | int
NOBODY = 0
LOOPS = -1  # the writer thread that serves all event loops, or who closes the log
_LOOK_S = 0.001  # how often who closes the log looks whether another one still writes


class Turns:
    """`holder`: who has the turn: a blocking caller by its latch, or by its thread where it had nobody to wait for; a
    loop that writes itself by its thread; LOOPS or NOBODY. `pending`: what waits, oldest first. `lock` guards both;
    `open` and `add` are for who holds it."""

    def __init__(self, commit_bytes_max: int) -> None:
        self.lock = Lock()
        self.pending: deque[Commit] = deque()
        self.holder: Holder = NOBODY
        self.is_closing = False
        self._seen = 0
        self.pace = Pace()
        self.writer: Writer | None = None
        self._commit_bytes_max = commit_bytes_max

    def open(self, size: int) -> Commit:
        """The commit that takes `size` bytes more: the last one, if it has room, or another one."""
        pending = self.pending
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

    def add(self, latch: Latch) -> None:
        """What a blocking caller waits for."""
        commit = self.open(latch.batch.size)
        commit.latches.append(latch)
        commit.add(latch.batch)

    def withdraw(self, latch: Latch) -> bool:
        """The caller is gone. Returns whether nobody had begun with what it waits for, which nobody writes then."""
        found = False
        with self.lock:
            for commit in list(self.pending):
                if latch in commit.latches:
                    found = True
                    commit.latches.remove(latch)
                    commit.batches[:] = [batch for batch in commit.batches if batch is not latch.batch]
                if not commit.batches:
                    self.pending.remove(commit)
        return found

    def take(self, holder: Holder, taken: list[Commit]) -> bool:
        """Move what waits first to `taken`, if the turn is this holder's, or nobody's; returns whether it is there."""
        with self.lock:
            if self.pending and self.holder in (holder, NOBODY):
                self.holder = holder
                taken.append(self.pending[0])
                self.pending.popleft()
        return bool(taken)

    def quiet(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        with self.lock:
            return not self.holder and not self.pending

    def is_here(self) -> bool:
        """Whether this thread has the turn."""
        holder = self.holder
        return (holder.thread if isinstance(holder, Latch) else holder) == get_ident()

    def is_left(self, sequence: int) -> bool:
        """Whether nobody writes what waits, nor did since this was asked last. sequence: of the last group by now."""
        before, self._seen = self._seen, sequence
        return before == sequence and not self.holder and bool(self.pending)

    def close(self) -> None:
        """End the writer thread, and wait for the turn, which comes here next and stays until `is_closing` is False."""
        if self.writer:
            self.writer.close()
            self.writer = None
        while not self._claim():
            sleep(_LOOK_S)

    def _claim(self) -> bool:
        with self.lock:
            self.is_closing = True
            if self.holder == NOBODY:
                self.holder = LOOPS
            return self.holder == LOOPS

    def pass_on(self, holder: Holder) -> Iterable[asyncio.AbstractEventLoop]:
        """Give the turn up, if it is this holder's, and let go on who is next: a blocking caller that waits, else the
        writer, else one of the loops that are returned, else nobody. What waits first may be of a loop that has ended,
        so those behind it are told as well."""
        with self.lock:
            if self.holder == holder:
                self.holder = LOOPS if self.is_closing else NOBODY
            if not self.pending:
                return ()
            first = next((commit.latches[0] for commit in self.pending if commit.latches), None)
            if self.holder == NOBODY:
                if first:
                    self.holder = first
                elif self.writer and (len(self.pending) > 1 or self.pending[0].size >= self.pace.enough_bytes):
                    self.writer.ask()  # before the turn is its: who comes in vain does no harm
                    self.holder = LOOPS
                else:
                    return {loop for commit in self.pending for loop in commit.tickets}
            if first and self.holder is first:
                first.open()
            return ()


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    """Let a loop call a function soon, from whichever thread."""
    try:
        if asyncio._get_running_loop() is loop:
            loop.call_soon(function, *arguments)
        else:
            loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return  # the loop was closed: nobody waits there any more
