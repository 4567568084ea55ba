"""One group commit: the batches that are written together, and who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import Lock, get_ident

from evermq.adapters.log.batch import Batch
from evermq.adapters.log.load import TopicLanes
from evermq.errors import EvermqError
from evermq.message import Message
from evermq.position import Position
from evermq.ticket import Ticket

__all__ = ["Commit", "Joint", "Latch"]


class Latch:
    """What one blocking caller waits for: that its batch was written, or that it has the turn itself."""

    __slots__ = ("_lock", "batch", "thread")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.thread = get_ident()
        self._lock = Lock()
        self._lock.acquire()

    def wait(self) -> None:
        self._lock.acquire()

    def open(self) -> None:
        """Again is harmless."""
        try:
            self._lock.release()
        except RuntimeError:
            return


class Commit:
    """`size`: bytes of its batches, roughly. `tickets`: of the loops that wait. `latches`: of the threads that do.
    `joint`: where single messages of its topic and loop are still added."""

    __slots__ = ("batches", "joint", "latches", "size", "tickets")

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.joint: Joint | None = None
        self.size = 0
        self.tickets: dict[asyncio.AbstractEventLoop, Ticket] = {}
        self.latches: list[Latch] = []

    def ticket(self, loop: asyncio.AbstractEventLoop) -> Ticket:
        """What callers of this loop wait for."""
        found = self.tickets.get(loop)
        if found is None:
            found = self.tickets[loop] = Ticket(loop)
        return found

    def joint_of(self, topic: TopicLanes, loop: asyncio.AbstractEventLoop) -> Joint:
        """Where single messages of this topic and loop are added from now on."""
        made = self.joint = Joint(topic, self.ticket(loop))
        self.batches.append(made)
        return made

    def add(self, batch: Batch) -> None:
        """What comes later goes behind it."""
        self.batches.append(batch)
        self.joint = None


class Joint(Batch):
    """Append calls of a single message each that go with the same group: 256 of them are one batch. A caller waits
    for the `ticket` and keeps the index of its message. `results`: by index, once the group is made and as long as
    all is well, else see `result_of`."""

    __slots__ = ("_calls", "added", "loop", "results", "ticket")

    def __init__(self, topic: TopicLanes, ticket: Ticket) -> None:
        self.added: list[Message] = []
        super().__init__(topic, self.added, 0)
        self.ticket = ticket
        self.loop = ticket.loop
        self.results: list[tuple[Position]] = []
        self._calls: list[Batch] = []

    def settle(self, positions: Sequence[Position]) -> None:
        self.results = list(zip(positions, strict=True))

    def fail(self, error: EvermqError) -> None:
        super().fail(error)
        self.results = []
        for call in self._calls:
            call.fail(error)

    def calls(self) -> Sequence[Batch]:
        """Where one of them cannot be stored, each is on its own."""
        self.results = []
        if not self._calls:
            self._calls = [Batch(self.topic, (message,), 0) for message in self.added]
        return self._calls

    def result_of(self, index: int) -> Sequence[Position]:
        """As `result`, of one call."""
        if self._calls:
            return self._calls[index].result()
        return self.results[index] if self.results else self.result()
