"""Remote first; while that fails or is slow, local, until a pump has emptied it."""

from __future__ import annotations

from collections.abc import Sequence

from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError
from evermq.ha.outcomes import Outcomes
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.message import Message
from evermq.port import Queue
from evermq.position import Position
from evermq.traits import Traits

__all__ = ["Buffered"]


class Buffered(Spooled):
    """See `Queue` and Spooled. slow_ms: a remote append that takes longer counts as failed.

    While `local` has anything the pump has not carried, appends go there as well, so that nothing overtakes it;
    the local queue is asked each time, since a counter in memory would forget what an earlier process left.
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
        self._direct = Route({"remote": remote}, append_ms_max=slow_ms, clock=clock)

    @property
    def traits(self) -> Traits:
        return self._local.traits & self._remote.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        if not messages:
            return ()
        outcomes = Outcomes(messages)
        if not await self._local.backlog(self._group):
            try:
                return await self._direct.append(messages)
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
