"""Local first, always: the producer's acknowledgement is the local disk, a pump carries on to the remote queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from evermq.admission import admit
from evermq.clock import SYSTEM, Clock
from evermq.errors import Misconfigured, Unavailable, Uncertain, Unsupported
from evermq.ha.pump import HOPS_BYTES_MAX, Pump, PumpCounts
from evermq.ha.together import close_all
from evermq.ha.under import Under
from evermq.message import Message
from evermq.port import Queue, Reader, Start
from evermq.position import Position, Via
from evermq.traits import Traits

__all__ = ["Spooled"]

_CARRIED_MS_MAX = 5_000


class Spooled:
    """See `Queue`. The pump runs from `start` (or `async with`) to `close`.

    Appends go to `local`, readers read `remote`: a child is either pumped or read, never both. Traits: the weaker
    of the two, with room for the pump's header, but durable is the local queue's, which gives the acknowledgement,
    and there is no replay, since positions of appends are local and those of deliveries remote. What the remote queue
    could not take is refused at once. Per key, first copies keep their order where both keep it; a repeated append of
    the pump may put a double behind. Without `dead`, a message that the remote queue refuses all the same stops the
    pump.
    """

    def __init__(
        self, *, local: Queue, remote: Queue, dead: Queue | None = None, group: str = "pump", clock: Clock = SYSTEM
    ) -> None:
        if local is remote:
            raise Misconfigured("local and remote are the same queue: it would be pumped into itself")
        self._local = local
        self._remote = remote
        self._dead = dead
        self._group = group
        self._clock = clock
        self._pump = Pump(local, remote, group=group, dead=dead, clock=clock)
        self._promised: tuple[tuple[Traits, Traits], Traits] | None = None

    @property
    def name(self) -> str:
        return self._remote.name

    @property
    def traits(self) -> Traits:
        both = (self._local.traits, self._remote.traits)
        if self._promised is None or self._promised[0] != both:  # a remote queue that joins late has others then
            self._promised = (both, self._traits_of(*both))
        return self._promised[1]

    def _traits_of(self, local: Traits, remote: Traits) -> Traits:
        weaker = local & remote
        room = weaker.message_bytes_max - HOPS_BYTES_MAX
        # A delayed message waits in the local queue, and the pump cuts its own batches.
        return replace(
            weaker,
            durable=local.durable,
            replay=False,
            message_bytes_max=room,
            batch_count_max=local.batch_count_max,
        )

    @property
    def counts(self) -> PumpCounts:
        return self._pump.counts

    async def start(self) -> None:
        """Make the pump's group, if the local queue answers (else the pump does when it can), and begin to carry."""
        try:
            await (await self._local.reader(self._group)).close()
        except (Unavailable, Uncertain):
            pass
        self._pump.start()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        if not messages:
            return ()
        batch = admit(messages, self.traits, self._clock.now_ms())
        return Via("local", await self._local.append(batch))

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        """As the remote queue's. Other starts than OLDEST wait a little for what is on its way, which is older."""
        if start.at == "offset":
            raise Unsupported(f"offsets of {self.name} are local or remote: start by time, or read the remote alone")
        if start != Start.OLDEST:
            until_ms = self._clock.monotonic_ms() + _CARRIED_MS_MAX
            while await self._local.backlog(self._group) and self._clock.monotonic_ms() < until_ms:
                await self._clock.sleep(5)
        return Under("remote", await self._remote.reader(group, start=start))

    async def backlog(self, group: str, lane: str | None = None) -> int:
        """Of the remote queue, and all that is still to be carried there; on its way it may be counted twice."""
        waiting = await self._local.backlog(self._group) if lane is None else 0
        return waiting + await self._remote.backlog(group, lane)

    async def close(self) -> None:
        """Stop the pump, then close all its queues; what was not carried waits in the local one."""
        await self._pump.close()
        await close_all([self._local, self._remote, *([self._dead] if self._dead else [])])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
