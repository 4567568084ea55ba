"""Remote first; while that fails or is slow, local, until a pump has emptied it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from evermq.admission import admit
from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError, Unavailable, Uncertain
from evermq.ha.outcomes import Outcomes
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.message import Message
from evermq.port import Queue
from evermq.position import Position
from evermq.traits import Order, Traits

__all__ = ["Buffered"]


class Buffered(Spooled):
    """See `Queue` and Spooled. slow_ms: a remote append that takes longer counts as failed.

    While `local` has anything the pump has not carried, appends go there as well, so that nothing overtakes it;
    the local queue is asked each time, since a counter in memory would forget what an earlier process left. Where it
    does not say, appends are Unavailable, or go to the remote queue where no order is promised.
    An append that timed out may be stored by the remote queue all the same: a double, under one id.
    """

    def __init__(
        self,
        *,
        local: Queue,
        remote: Queue,
        slow_ms: int = 800,
        dead: Queue | None = None,
        group: str = "pump",
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(local=local, remote=remote, dead=dead, group=group, clock=clock)
        self._slow_ms = slow_ms
        self._direct = Route({"remote": remote}, append_ms_max=slow_ms, clock=clock)

    def _traits_of(self, local: Traits, remote: Traits) -> Traits:
        return replace(
            super()._traits_of(local, remote),
            durable=min(local.durable, remote.durable),
            batch_count_max=min(local.batch_count_max, remote.batch_count_max),
        )

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        if not messages:
            return ()
        batch = admit(messages, self.traits, self._clock.now_ms())
        outcomes = Outcomes(batch)
        if not await self._is_behind():
            try:
                return await self._direct.append(batch)
            except EvermqError as error:
                outcomes.failed(None, error)
        if outcomes.rest:
            try:
                done = outcomes.placed("local", await self._local.append(outcomes.rest))
            except EvermqError as error:
                outcomes.failed("local", error)
            else:
                if done is not None:
                    return done
        return outcomes.result()

    async def close(self) -> None:
        await super().close()
        await self._direct.close()

    async def _is_behind(self) -> bool:
        """Whether the local queue has something that must go first. Raises Unavailable where that is not known."""
        try:
            async with asyncio.timeout(self._slow_ms / 1000):
                return bool(await self._local.backlog(self._group))
        except (Unavailable, Uncertain, TimeoutError) as error:
            if self.traits.order is Order.NONE:
                return False
            if isinstance(error, Unavailable):
                raise
            raise Unavailable(f"the local queue does not say whether it is empty: {error!r}") from error
