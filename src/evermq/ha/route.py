"""Write to the first queue that takes it, read from all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, reduce
from operator import and_

from evermq.admission import admit
from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, Misconfigured, Unavailable, Uncertain, Unsupported
from evermq.ha.merged import Merged
from evermq.ha.outcomes import Outcomes, place
from evermq.ha.pace import Pace
from evermq.ha.together import close_all, together
from evermq.message import Message
from evermq.port import Queue, Start
from evermq.position import Position
from evermq.traits import Order, Traits

__all__ = ["Route", "first"]

Append = asyncio.Future[Sequence[Position]]
_LATE_MAX = 4  # appends to one child that timed out and have not ended; beyond it the child is passed over
_UNWATCHED_MAX = 256  # and of those whose callers were cancelled, which may be many at once and soon end


def first() -> int:
    """The choice of a plain route: always begin with the first child."""
    return 0


class Route:
    """See `Queue`.

    children: by configuration key, in the order they are tried. choice: index of the child to begin with; after
    the last one come those before it. append_ms_max: what takes longer is Uncertain and goes on to the next child;
    a reader that a child does not open, and a backlog that it does not tell, is not waited for longer either. unread:
    children that are appended to but not read.

    An append goes on with the same messages after Unavailable and after Uncertain (an error nobody listed is that
    too), so a message may stand in two children under one id; it is never sent on once it was acknowledged, or
    Rejected by the first child that was heard. What one of the children could not take is refused before any is
    asked. Traits: the weakest of the children's; with more than one child no order, since they are read side by side,
    and no replay, since offsets are each child's own. A backlog is that of all children, or Unavailable: one that does
    not answer may hold anything.
    """

    def __init__(
        self,
        children: Mapping[str, Queue],
        *,
        choice: Callable[[], int] = first,
        append_ms_max: int = 800,
        unread: Collection[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        if not children:
            raise Misconfigured("a route needs at least one child")
        if len({id(child) for child in children.values()}) < len(children):
            raise Misconfigured("a route has the same queue twice: everything in it would be read by two readers")
        self._children = dict(children)
        self._keys = list(children)
        self._read = {key: child for key, child in children.items() if key not in unread}
        self._choice = choice
        self._append_ms_max = append_ms_max
        self._clock = clock
        self._pace: Pace | None = None
        self._late: dict[str, dict[Append, None]] = {key: {} for key in children}
        self._unwatched: dict[str, dict[Append, None]] = {key: {} for key in children}  # of callers that were cancelled
        self._readers: list[Merged] = []
        self._closed = False
        self._ending = Ending()

    @property
    def name(self) -> str:
        return self._children[self._keys[0]].name

    @property
    def children(self) -> Mapping[str, Queue]:
        """By configuration key, in the order they are tried."""
        return self._children

    @cached_property
    def traits(self) -> Traits:
        return self.traits_of(self._keys)

    def traits_of(self, keys: Sequence[str]) -> Traits:
        """What some of the children promise together."""
        weakest = reduce(and_, (self._children[key].traits for key in keys))
        return weakest if len(keys) == 1 else replace(weakest, order=Order.NONE, replay=False)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if not messages:
            return ()
        return await self._place(admit(messages, self.traits, self._clock.now_ms()), self._order())

    def _order(self) -> Sequence[str]:
        """The children in the order in which they are asked this time."""
        begin = self._choice()
        return self._keys[begin:] + self._keys[:begin]

    async def _place(self, messages: Sequence[Message], order: Sequence[str]) -> Sequence[Position]:
        """Offer them to one child after the other."""
        return await place(Outcomes(messages), order, self._offer)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Merged:
        self._check()
        if start.at == "offset" and len(self._read) > 1:
            raise Unsupported(f"offsets of {self.name} are each child's own: start by time, or read one child alone")
        reader = await Merged.open(
            self._read, group, start=start, open_ms_max=self._append_ms_max, pace=self._pace, clock=self._clock
        )
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        # What is not read goes up into what is: asked first, a message is counted on one of the two sides at least.
        rounds = [[key for key in self._keys if (key in self._read) is is_read] for is_read in (False, True)]
        return sum([sum(await together([self._backlog(key, group, lane) for key in keys])) for keys in rounds])

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        # Their outcome was Uncertain already; an engine that never answers must not hold up the others.
        left = [*self._unwatched.values(), *self._late.values()]
        for append in [append for appends in left for append in appends]:
            append.cancel()
        await close_all(self._readers)
        await close_all(self._children.values())

    async def _offer(self, key: str, messages: Sequence[Message]) -> Sequence[Position]:
        late, unwatched = self._late[key], self._unwatched[key]
        if len(late) >= _LATE_MAX or len(unwatched) >= _UNWATCHED_MAX:
            raise Unavailable(f"{key} has not answered {len(late) + len(unwatched)} appends yet")
        append = asyncio.ensure_future(self._children[key].append(messages))
        # Not cancelled when its time is up: only its own outcome says when the child lives again.
        try:
            await asyncio.wait([append], timeout=self._wait_ms_max(key) / 1000)
        except asyncio.CancelledError:
            _keep(unwatched, append)
            raise
        if not append.done():
            _keep(late, append)
            raise Uncertain(f"{key} did not answer within {self._wait_ms_max(key)} ms")
        if append.cancelled():
            raise Uncertain(f"{key} gave the append up")
        error = append.exception()
        if error and not isinstance(error, EvermqError):
            raise Uncertain(f"{key} failed in a way nobody listed: {error!r}") from error
        return append.result()

    def _wait_ms_max(self, key: str) -> int:
        """How long an append waits for a child."""
        return self._append_ms_max

    async def _backlog(self, key: str, group: str, lane: str | None) -> int:
        try:
            async with asyncio.timeout(self._append_ms_max / 1000):
                return await self._children[key].backlog(group, lane)
        except TimeoutError as error:
            raise Unavailable(f"{key} did not answer within append_ms_max = {self._append_ms_max}") from error

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


def _keep(appends: dict[Append, None], append: Append) -> None:
    """Remember an append until it has ended; nobody waits for it any more."""
    appends[append] = None
    append.add_done_callback(lambda ended: _forget(appends, ended))


def _forget(appends: dict[Append, None], append: Append) -> None:
    del appends[append]
    if not append.cancelled():
        append.exception()  # looked at
