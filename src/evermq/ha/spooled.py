"""Local first, always: the producer's acknowledgement is the local disk, a pump carries on to the remote queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from evermq.clock import SYSTEM, Clock
from evermq.errors import Misconfigured
from evermq.ha.pump import Pump, PumpCounts
from evermq.message import Message
from evermq.port import Queue, Reader, Start
from evermq.position import Position, Via
from evermq.traits import Traits

__all__ = ["Spooled"]

_CARRIED_MS_MAX = 5_000
_HOPS_BYTES_MAX = 64  # the pump's header takes a little of the remote queue's limit


class Spooled:
    """See `Queue`. The pump runs from `start` (or `async with`) to `close`.

    Appends go to `local`, readers read `remote`: a child is either pumped or read, never both. Traits: the weaker
    of the two, but durable is the local queue's, which gives the acknowledgement. Per key, first copies keep their
    order where both keep it; a repeated append of the pump may put a double behind.
    """

    def __init__(
        self, *, local: Queue, remote: Queue, dead: Queue | None = None, group: str = "pump", clock: Clock = SYSTEM
    ) -> None:
        if local is remote:
            raise Misconfigured("local and remote are the same queue: it would be pumped into itself")
        self._local = local
        self._remote = remote
        self._group = group
        self._clock = clock
        self._pump = Pump(local, remote, group=group, dead=dead, clock=clock)

    @property
    def name(self) -> str:
        return self._remote.name

    @property
    def traits(self) -> Traits:
        weaker = self._local.traits & self._remote.traits
        room = weaker.message_bytes_max - _HOPS_BYTES_MAX
        return replace(weaker, durable=self._local.traits.durable, message_bytes_max=room)

    @property
    def counts(self) -> PumpCounts:
        return self._pump.counts

    async def start(self) -> None:
        """Make the pump's group and begin to carry."""
        await (await self._local.reader(self._group)).close()
        self._pump.start()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return Via("local", await self._local.append(messages)) if messages else ()

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        """As the remote queue's. Other starts than OLDEST wait a little for what is on its way, which is older."""
        if start != Start.OLDEST:
            until_ms = self._clock.monotonic_ms() + _CARRIED_MS_MAX
            while await self._local.backlog(self._group) and self._clock.monotonic_ms() < until_ms:
                await self._clock.sleep(5)
        return await self._remote.reader(group, start=start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        """Of the remote queue, and all that is still to be carried there."""
        waiting = await self._local.backlog(self._group) if lane is None else 0
        return waiting + await self._remote.backlog(group, lane)

    async def close(self) -> None:
        await self._pump.close()
        await self._local.close()
        await self._remote.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
