"""Write to the first queue that takes it, read from all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_

from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, EvermqError, Misconfigured, Unavailable, Uncertain
from evermq.ha.merged import Merged
from evermq.ha.outcomes import Outcomes
from evermq.message import Message
from evermq.port import Queue, Start
from evermq.position import Position
from evermq.traits import Order, Traits

__all__ = ["Route", "first"]

_ABANDONED_MAX = 4  # appends to one child that nobody waits for any more; beyond it the child is passed over


def first() -> int:
    """The choice of a plain route: always begin with the first child."""
    return 0


class Route:
    """See `Queue`.

    children: by configuration key, in the order they are tried. choice: index of the child to begin with; after
    the last one come those before it. append_ms_max: what takes longer is Uncertain and goes on to the next child.

    An append goes on with the same messages after Unavailable and after Uncertain, so a message may stand in two
    children under one id; it is never sent on once it was acknowledged or Rejected. Traits: the weakest of the
    children's, and no order with more than one child, since they are read side by side.
    """

    def __init__(
        self,
        children: Mapping[str, Queue],
        *,
        choice: Callable[[], int] = first,
        append_ms_max: int = 800,
        clock: Clock = SYSTEM,
    ) -> None:
        if not children:
            raise Misconfigured("a route needs at least one child")
        self._children = dict(children)
        self._keys = list(children)
        self._choice = choice
        self._append_ms_max = append_ms_max
        self._clock = clock
        self._abandoned: dict[str, set[asyncio.Task[Sequence[Position]]]] = {key: set() for key in children}
        self._readers: list[Merged] = []
        self._closed = False

    @property
    def name(self) -> str:
        return self._children[self._keys[0]].name

    @property
    def traits(self) -> Traits:
        weakest = reduce(and_, (child.traits for child in self._children.values()))
        return weakest if len(self._children) == 1 else replace(weakest, order=Order.NONE)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if not messages:
            return ()
        outcomes = Outcomes(messages)
        begin = self._choice()
        for i in range(len(self._keys)):
            key = self._keys[(begin + i) % len(self._keys)]
            try:
                done = outcomes.placed(key, await self._offer(key, outcomes.rest))
            except EvermqError as error:
                outcomes.failed(key, error)
            else:
                if done is not None:
                    return done
            if not outcomes.rest:
                break
        return outcomes.result()

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Merged:
        self._check()
        reader = await Merged.open(self._children, group, start=start, clock=self._clock)
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        return sum([await child.backlog(group, lane) for child in self._children.values()])

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            for reader in self._readers:
                await reader.close()
            for child in self._children.values():
                await child.close()
            left = [task for tasks in self._abandoned.values() for task in tasks]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _offer(self, key: str, messages: Sequence[Message]) -> Sequence[Position]:
        abandoned = self._abandoned[key]
        if len(abandoned) >= _ABANDONED_MAX:
            raise Unavailable(f"{key} has not answered {len(abandoned)} appends yet")
        task = asyncio.ensure_future(self._children[key].append(messages))
        # Not cancelled when its time is up: only its own outcome says when the child lives again.
        done = False
        try:
            done = bool((await asyncio.wait([task], timeout=self._append_ms_max / 1000))[0])
        finally:
            if not done:
                abandoned.add(task)
                task.add_done_callback(lambda late: _settle(abandoned, late))
        if not done:
            raise Uncertain(f"{key} did not answer within append_ms_max = {self._append_ms_max}")
        return task.result()

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


def _settle(abandoned: set[asyncio.Task[Sequence[Position]]], task: asyncio.Task[Sequence[Position]]) -> None:
    abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at: nobody else waits for it
