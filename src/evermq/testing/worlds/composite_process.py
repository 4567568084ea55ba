"""The processes of a simulated world: each builds the queue for itself, sends, reads, and may die at any moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evermq.errors import EvermqError, Partial, Rejected, Unavailable
from evermq.message import NO_HEADERS, Message
from evermq.port import Delivery, Queue, Reader
from evermq.position import Position
from evermq.testing.history import Event, body_of, digest
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.worlds.composite_site import Link, Site
from evermq.testing.worlds.composite_tree import Built, Node, build
from evermq.traits import Order

__all__ = ["Process", "Sender", "Story"]

_KEYS = ("a", "b", "c", "")
_RELEASES_MAX = 3
_BATCHES_MIN = 8


class Story:
    """What everybody did and saw, in the order in which it happened."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.events: list[Event] = []
        self.is_over = False  # the troubles are: there is nothing more to be learned from new messages

    def tell(self, ev: str, **what: Any) -> None:
        """Write an event down."""
        self.events.append(Event(t=self.clock.monotonic_ms() * 1_000_000, ev=ev, **what))

    def handed(self, ev: str, delivery: Delivery, group: str, proc: str) -> None:
        """Write down what became of a delivery."""
        message, via = delivery.message, "/".join(delivery.position.via)
        sha = digest(message.body)
        self.tell(ev, id=message.id, group=group, proc=proc, attempt=delivery.attempt, via=via, sha=sha)


@dataclass(slots=True)
class Sender:
    """A producer: what it has still to send, and what it does not know the outcome of. It may outlive its process.

    patient: it never goes on to the next message before it knows what became of this one. is_named: it has a slot of
    its own again after a crash.
    """

    name: str
    batches_max: int
    patient: bool
    batches: int = -1
    pending: list[Message] = field(default_factory=list)
    made: int = 0
    numbers: Counter[str] = field(default_factory=Counter)
    in_doubt: set[str] = field(default_factory=set)
    is_named: bool = False

    def __post_init__(self) -> None:
        if self.batches < 0:
            self.batches = self.batches_max

    async def run(self, queue: Queue, story: Story) -> None:
        """Send until nothing is left."""
        chance = story.clock.random
        while self.has_more(story):
            if not self.pending:
                self.batches -= 1
                self.pending = [self._make(story) for _ in range(chance.choice((1, 1, 2, 5, 12)))]
            tries = 0
            while self.pending:
                await self._try(queue, story)
                tries += 1
                if self.pending and tries > 4 and not self.patient and chance.random() < 0.2:
                    self.pending = []
                await story.clock.sleep(
                    chance.choice((5, 20, 100, 250)) if self.pending else chance.choice((0, 20, 100))
                )

    def has_more(self, story: Story) -> bool:
        """Whether it has not done its part: to the end of the troubles, but for a last few."""
        return bool(self.pending) or self.batches > (self.batches_max - _BATCHES_MIN if story.is_over else 0)

    def _make(self, story: Story) -> Message:
        key = story.clock.random.choice(_KEYS)
        self.made += 1
        self.numbers[key] += 1
        id = f"{self.name}-{self.made}"
        body = body_of(id, story.clock.random.choice((0, 10, 200)))
        number, sha = self.numbers[key], digest(body)
        story.tell("send_invoke", id=id, key=key, kseq=number, producer=self.name, sha=sha)
        return Message(id, key.encode() if key else None, body, NO_HEADERS, story.clock.now_ms())

    async def _try(self, queue: Queue, story: Story) -> None:
        batch = self.pending
        try:
            outcomes: Sequence[Position | EvermqError] = await queue.append(batch)
        except Partial as error:
            outcomes = error.outcomes
        except EvermqError as error:
            outcomes = [error] * len(batch)
        except asyncio.CancelledError:
            for message in batch:
                story.tell("send_unknown", id=message.id)
            raise
        self.pending = []
        for message, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Position):
                story.tell("send_ok", id=message.id, via="/".join(outcome.via))
                continue
            known = isinstance(outcome, Unavailable | Rejected)
            story.tell("send_fail" if known else "send_unknown", id=message.id, detail=str(outcome))
            if not known:
                self.in_doubt.add(message.id)
            # A refusal is the end of it, but for one that an earlier try may have stored.
            if not isinstance(outcome, Rejected) or (self.patient and message.id in self.in_doubt):
                self.pending.append(message)


class Process:
    """sender: the producer in it, if any; it then runs the pumps as well. groups: those it reads, one reader each."""

    def __init__(
        self,
        name: str,
        story: Story,
        node: Node,
        sites: Mapping[str, Site],
        *,
        sender: Sender | None = None,
        groups: Sequence[str] = (),
        gentle: bool = False,
    ) -> None:
        self.name = name
        self.sender = sender
        self._story = story
        self._clock = story.clock
        self._node = node
        self._sites = sites
        self._groups = groups
        self._gentle = gentle
        self._links: dict[str, Link] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.built: Built | None = None

    async def boot(self) -> None:
        """Open everything and begin."""
        self._links = {name: Link(site) for name, site in self._sites.items()}
        name = self.sender.name if self.sender and self.sender.is_named else ""
        built = self.built = build(self._node, self._links, self._links.get("dead"), self._clock, name)
        for group in self._groups:
            self._spawn(self._consume(built.queue, group))
        if self.sender:
            self._spawn(self._serve(built, self.sender))

    async def crash(self) -> None:
        """Die in the middle of everything."""
        for link in self._links.values():
            link.cut()
        await self.end()
        asyncio.ensure_future(_forget(list(self._links.values()), self._clock, self._clock.random.choice((0, 50, 400))))

    async def end(self) -> None:
        """Stop in good order; of a process whose links are cut nobody notices. Raises what went wrong in it."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self.built:
            await self.built.queue.close()
            self.built = None
        for result in results:
            if isinstance(result, Exception):
                raise result

    def has_failed(self) -> bool:
        """Whether it died of something that nobody did to it."""
        return any(task.done() and not task.cancelled() and task.exception() for task in self._tasks)

    def is_done(self) -> bool:
        """Whether it has sent everything."""
        return not self.sender or not self.sender.has_more(self._story)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _serve(self, built: Built, sender: Sender) -> None:
        for pumped in built.pumped:
            await pumped.start()
        await sender.run(built.queue, self._story)

    async def _consume(self, queue: Queue, group: str) -> None:
        """Read for ever; a reader that fails is closed, which gives back what it had."""
        while True:
            try:
                reader = await queue.reader(group)
            except EvermqError:
                await self._clock.sleep(100)
                continue
            try:
                await self._drain(reader, group, queue.traits.order)
            except EvermqError:
                await self._clock.sleep(50)
            finally:
                try:
                    await reader.close()
                except EvermqError:
                    pass

    async def _drain(self, reader: Reader, group: str, order: Order) -> None:
        chance = self._clock.random
        while self._gentle or chance.random() < 0.97:
            try:
                found = await reader.read(count_max=chance.choice((1, 3, 12)), wait_ms=chance.choice((20, 300)))
            except EvermqError:
                if not self._gentle:
                    raise
                await self._clock.sleep(50)
                continue
            await reader.ack(await self._handle(reader, found, group, order))

    async def _handle(self, reader: Reader, found: list[Delivery], group: str, order: Order) -> list[Delivery]:
        chance = self._clock.random
        stopped: set[bytes] = set()
        done: list[Delivery] = []
        for delivery in found:
            key = delivery.message.key
            self._story.handed("deliver", delivery, group, self.name)
            if key is not None and key in stopped:
                continue  # it comes again behind the one that was released
            if not self._gentle and delivery.attempt < _RELEASES_MAX and chance.random() < 0.05:
                await reader.release([delivery], delay_ms=chance.choice((0, 50, 300)))
                if key is not None and order >= Order.KEY:
                    stopped.add(key)
                continue
            if chance.random() < 0.1:
                await self._clock.sleep(chance.choice((0, 5, 30)))
            self._story.handed("handler_ok", delivery, group, self.name)
            done.append(delivery)
        return done


async def _forget(links: list[Link], clock: SimulatedClock, after_ms: int) -> None:
    await clock.sleep(after_ms)
    for link in links:
        await link.forget()
