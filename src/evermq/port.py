"""The port: what an application and every technique see of a queue. Read this file first.

A queue appends and is read in batches. `append` has three outcomes: it returns, and then every message is
as durable as `traits` says; it raises `Unavailable` or `Rejected`, and then nothing was appended; it raises
`Uncertain`, and then nobody knows. A batch of which part went in raises `Partial`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import msgspec

from evermq.errors import Misconfigured
from evermq.message import Message
from evermq.position import Position
from evermq.traits import Traits

__all__ = ["AppendsBlocking", "Bounds", "Delivery", "DropsGroups", "Fetched", "GroupState", "HasNodes", "Log"]
__all__ += ["OrdersAppends", "Place", "Queue", "Reader", "Start", "TopicState"]


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message handed to one reader, to be acknowledged or released by that reader.

    The collector of cycles does not know it, since it would spend a third of a reader's time on deliveries.
    receipt: opaque; composites wrap it. attempt: 1 for the first time it is handed out in this group.
    """

    message: Message
    position: Position
    receipt: Any
    attempt: int


@dataclass(frozen=True, slots=True)
class Start:
    """Where a *new* group begins; a group that exists goes on where it stands."""

    at: str = "oldest"  # oldest, newest, time, offset
    value: int = 0  # milliseconds since 1970, or the offset in every lane

    OLDEST: ClassVar[Start]
    NEWEST: ClassVar[Start]

    def __post_init__(self) -> None:
        if type(self.value) is not int:  # engines write it down as it is
            raise Misconfigured(f"start {self.at}, value {self.value!r}: give a whole number")


Start.OLDEST = Start("oldest")
Start.NEWEST = Start("newest")


class Reader(Protocol):
    """One reader of one group; not shared between tasks."""

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        """Return 1 to `count_max` deliveries, or none after `wait_ms`; never waits to fill up."""
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Done with these, in any order; again is harmless."""
        ...

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        """Hand these out again, to any reader, not before `delay_ms`; where order is kept, what this reader
        holds of the same key behind them comes again as well, in order."""
        ...

    async def close(self) -> None:
        """Give back at once what is neither acknowledged nor released."""
        ...


class Queue(Protocol):
    """One topic in one place."""

    @property
    def name(self) -> str: ...
    @property
    def traits(self) -> Traits: ...

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        """Append all, in order; one position per message (the sequence may be lazy). See the module for errors.

        A cancelled append is `Uncertain`."""
        ...

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        """Open a reader of `group`, which is made at `start` where the engine may make groups by itself."""
        ...

    async def backlog(self, group: str, lane: str | None = None) -> int:
        """How many messages the group has still to settle, unacked and delayed included. A group that was
        never made has all that a group from OLDEST would."""
        ...

    async def close(self) -> None:
        """Settle what is under way, then refuse everything with `Closed`; again is harmless."""
        ...


@runtime_checkable
class AppendsBlocking(Protocol):
    """A queue that code without a running event loop may append to from any thread."""

    def append_blocking(self, messages: Sequence[Message]) -> Sequence[Position]:
        """As `Queue.append`, but the calling thread waits."""
        ...


@runtime_checkable
class OrdersAppends(Protocol):
    """A queue that lets appends under way at the same time land in the order in which they were called, per key.

    appends_max: how many of one caller are worth having under way. One that fails does not keep later ones back."""

    @property
    def appends_max(self) -> int: ...


@runtime_checkable
class HasNodes(Protocol):
    """A place whose topics are shared out among servers, lane by lane."""

    async def nodes(self) -> int:
        """How many there are now, as far as they know each other."""
        ...


@runtime_checkable
class DropsGroups(Protocol):
    """A place that can take a group away from a topic, with all that it knows of it."""

    async def drop_group(self, topic: str, group: str) -> None:
        """Keep nothing for the group any more; other groups stay as they are, and one of that name that is made later
        is a new one. Raises NoSuchTopic where there is no such topic or group, and Rejected, with nothing changed,
        where the engine tells that the group has readers; elsewhere those read nothing from then on."""
        ...


class Fetched(NamedTuple):
    """Messages of one lane with their offsets (which may have gaps), and the offset to fetch next."""

    messages: Sequence[Message]
    offsets: Sequence[int]
    next_offset: int


class Bounds(NamedTuple):
    """The first offset still there, and the offset that the next message will get."""

    start: int
    end: int


class Log(Protocol):
    """A topic whose messages have addresses: lanes 0 to `lanes` - 1 with rising offsets."""

    @property
    def name(self) -> str: ...
    @property
    def lanes(self) -> int: ...

    async def append(self, lane: int, messages: Sequence[Message]) -> Sequence[Position]: ...
    async def fetch(self, lane: int, offset: int, *, count_max: int) -> Fetched:
        """Return what is there now, perhaps nothing; an offset before the start begins at the start."""
        ...

    async def bounds(self, lane: int) -> Bounds: ...
    async def close(self) -> None: ...


class GroupState(NamedTuple):
    """A group of a topic; oldest_ms: age of the oldest message that is not settled, None if there is none, or the
    engine does not tell."""

    backlog: int
    oldest_ms: int | None


class TopicState(NamedTuple):
    """What a place says of a topic; appended: how many messages in all, None where the engine does not count them.

    settings: how it is kept (replicas, retention, limits), in the engine's own words; what may not be seen is
    `unknown`."""

    lanes: int
    groups: dict[str, GroupState]
    appended: int | None = None
    settings: Mapping[str, str] = MappingProxyType({})


class Place(Protocol):
    """The control plane of one connected engine."""

    async def queue(self, topic: str) -> Queue: ...
    async def topics(self) -> list[str]: ...
    async def create(self, topic: str, *, groups: Sequence[str] = (), lanes: int | None = None) -> list[str]:
        """Make what is missing, keep what exists; return one sentence for each thing that differs."""
        ...

    async def drop(self, topic: str) -> None: ...
    async def describe(self, topic: str) -> TopicState: ...
    async def close(self) -> None: ...
