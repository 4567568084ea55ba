"""What a check works with: the queue under test, messages, readers, and ways to wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from evermq.clock import SYSTEM
from evermq.errors import EvermqError
from evermq.message import Message, MessageFactory
from evermq.port import Delivery, Place, Queue, Reader, Start
from evermq.testing.conformance.subject import GROUPS, Opened, Subject
from evermq.traits import Order, Traits

__all__ = ["Bench", "bodies", "raised", "texts"]

E = TypeVar("E", bound=EvermqError)

_WAIT_MS = 10_000  # for what must come
_QUIET_MS = 60  # for what must not come
_POLL_MS = 10


class Bench:
    """One topic, for one check. group: name of the first group; others are in GROUPS."""

    def __init__(self, subject: Subject, topic: str, opened: Opened) -> None:
        self._opened = opened
        self.subject = subject
        self.topic = topic
        self.queue: Queue = opened.queue
        self.message = MessageFactory()
        self.group = GROUPS[0]
        self.now_ms = SYSTEM.now_ms

    @property
    def traits(self) -> Traits:
        return self.subject.traits

    @property
    def place(self) -> Place:
        """The control plane of the subject."""
        assert self._opened.place, f"subject {self.subject.name} says that it shows its place, and does not"
        return self._opened.place

    async def reopen(self) -> None:
        """Close the queue and open the same topic again."""
        assert self._opened.reopen, f"subject {self.subject.name} says that it reopens, and does not"
        self.queue = await self._opened.reopen()

    async def append(self, *bodies: str, key: str | None = None, delay_ms: int = 0) -> list[Message]:
        """Append these bodies as one batch; returns the messages."""
        messages = [self.message(body, key=key, delay_ms=delay_ms) for body in bodies]
        await self.queue.append(messages)
        return messages

    async def reader(self, group: str = GROUPS[0], start: Start = Start.OLDEST) -> Reader:
        return await self.queue.reader(group, start=start)

    async def take(self, reader: Reader, count: int, *, count_max: int = 1000) -> list[Delivery]:
        """Read until there are `count` deliveries; fails if there are more, or fewer after a long wait."""
        return await self.gather([reader], count, count_max=count_max)

    async def gather(self, readers: Sequence[Reader], count: int, *, count_max: int = 1000) -> list[Delivery]:
        """As `take`, from several readers in turn."""
        found: list[Delivery] = []
        until_ms = SYSTEM.monotonic_ms() + _WAIT_MS
        wait_ms = _WAIT_MS if len(readers) == 1 else _POLL_MS
        while len(found) < count and SYSTEM.monotonic_ms() <= until_ms:
            for reader in readers:
                found += await reader.read(count_max=count_max, wait_ms=wait_ms)
                if len(found) >= count:
                    break
        assert len(found) == count, f"{count} deliveries were due and {len(found)} came: {texts(found)[:20]}"
        return found

    async def take_acked(self, reader: Reader, count: int) -> list[Delivery]:
        """Read and ack `count` deliveries, as a consumer does."""
        found: list[Delivery] = []
        while len(found) < count:
            some = await reader.read(count_max=100, wait_ms=_WAIT_MS)
            assert some, f"{count} deliveries were due and {len(found)} came: {texts(found)[:20]}"
            await reader.ack(some)
            found += some
        return found

    def in_order(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        """What the messages of one key say: as they came where a key keeps its order, else sorted."""
        found = bodies(deliveries)
        return found if self.traits.order >= Order.KEY else sorted(found)

    def are_attempts(self, deliveries: Sequence[Delivery], *expected: int) -> bool:
        """Whether they are handed out for that time, or for a later one where the engine counts what nobody saw."""
        found = [delivery.attempt for delivery in deliveries]
        if self.subject.counts_fetched:
            return all(attempt >= least for attempt, least in zip(found, expected, strict=True))
        return found == list(expected)

    async def nothing_comes(self, *readers: Reader) -> None:
        """Fails if any of them is handed something within a short while."""
        for reader in readers:
            found = await reader.read(count_max=1000, wait_ms=_QUIET_MS)
            assert not found, f"nothing was due, and this came: {texts(found)[:20]}"

    async def backlog_becomes(self, count: int, group: str = GROUPS[0]) -> None:
        """Fails if the backlog is not `count` within a while: what moves messages may be at it yet."""
        until_ms = SYSTEM.monotonic_ms() + _WAIT_MS
        while (found := await self.queue.backlog(group)) != count and SYSTEM.monotonic_ms() < until_ms:
            await asyncio.sleep(_POLL_MS / 1000)
        assert found == count

    async def pass_ms(self, wait_ms: int) -> None:
        """Let time go by."""
        await asyncio.sleep(wait_ms / 1000)


async def raised(error: type[E], act: Awaitable[object]) -> E:
    """The error of this kind that the act ends with; fails if it goes through."""
    try:
        await act
    except error as found:
        return found
    raise AssertionError(f"{error.__name__} was due, and it went through")


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    """What the messages say, in order."""
    return [delivery.message.body for delivery in deliveries]


def texts(deliveries: Sequence[Delivery]) -> list[str]:
    """As `bodies`, short and readable."""
    return [delivery.message.body[:40].decode(errors="backslashreplace") for delivery in deliveries]
