"""A child that could not be opened when the process started: the others serve meanwhile, and it joins them later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_

from evermq.clock import SYSTEM, Clock
from evermq.errors import Closed, Unavailable, Uncertain, Unsupported
from evermq.ha.together import close_all
from evermq.message import Message
from evermq.port import Queue, Reader, Start
from evermq.position import Position
from evermq.settling import Bounded, Identified, Relaned, Scatters
from evermq.traits import Traits

__all__ = ["Check", "Late", "Open", "open_all"]

Open = Callable[[], Awaitable[Queue]]
Check = Callable[[Queue], None]
_OPEN_MS_MAX = 2_000
_PAUSE_MS = 500


class Late:
    """See `Queue`. It is opened in the background, again and again.

    opener: opens the queue. opening: the first try, which goes on. assumed: its traits until it is open. check: raises
    where it must not be used as it is. Until it is open appends and backlogs are Unavailable, and a reader waits.
    """

    def __init__(
        self,
        key: str,
        opener: Open,
        opening: asyncio.Future[Queue],
        assumed: Traits,
        *,
        name: str,
        check: Check = lambda queue: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._key = key
        self._name = name
        self._assumed = assumed
        self._check = check
        self._clock = clock
        self._queue: Queue | None = None
        self._at_once = False
        self._why: BaseException | None = None
        self._news = asyncio.Event()  # it is open, or closed
        self._closed = False
        self._task = asyncio.create_task(self._join(opener, opening))

    @property
    def name(self) -> str:
        return self._queue.name if self._queue else self._name

    @property
    def traits(self) -> Traits:
        return self._queue.traits if self._queue else self._assumed

    @property
    def scatters(self) -> bool:
        """See `evermq.settling.Scatters`."""
        return isinstance(self._queue, Scatters) and self._queue.scatters

    @property
    def topic_id(self) -> str:
        """See `evermq.settling.Identified`."""
        return self._queue.topic_id if isinstance(self._queue, Identified) else ""

    def read_at_once(self) -> None:
        """See `evermq.settling.Relaned`."""
        self._at_once = True
        if isinstance(self._queue, Relaned):
            self._queue.read_at_once()

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await self._opened().append(messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        await self._news.wait()
        return await self._opened().reader(group, start=start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._opened().backlog(group, lane)

    async def end(self, lane: str) -> int:
        """See `evermq.settling.Bounded`; Unsupported where the queue does not tell it."""
        queue = self._opened()
        if not isinstance(queue, Bounded):
            raise Unsupported(f"{self._key} does not tell where its lanes end")
        return await queue.end(lane)

    async def close(self) -> None:
        self._closed = True
        self._news.set()
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._queue:
            await self._queue.close()

    def _opened(self) -> Queue:
        if self._queue is None:
            if self._closed:
                raise Closed(f"{self._key} was closed: open it again")
            raise Unavailable(f"{self._key} is not open yet: {self._why or 'it has not answered'}")
        return self._queue

    async def _join(self, opener: Open, opening: asyncio.Future[Queue]) -> None:
        """Whatever it says to the first try may be otherwise later, where somebody has mended it."""
        try:
            while True:
                try:
                    self._queue = await self._checked(opening)
                    if self._at_once:
                        self.read_at_once()
                    return self._news.set()
                except Exception as error:  # of no matter what kind: whoever reads it would wait for ever
                    self._why = error
                    await self._clock.sleep(_PAUSE_MS)
                opening = asyncio.ensure_future(opener())
        except BaseException:
            opening.cancel()  # of no effect on one that has ended
            raise

    async def _checked(self, opening: asyncio.Future[Queue]) -> Queue:
        try:
            queue = await opening
        except asyncio.CancelledError:
            if _is_open(opening):  # in this very moment
                await opening.result().close()
            raise
        try:
            self._check(queue)
        except Exception:
            await queue.close()
            raise
        return queue


async def open_all(
    openers: Mapping[str, Open],
    *,
    beside: Collection[Queue] = (),
    check: Check = lambda queue: None,
    lanes: Mapping[str, int] | None = None,
    open_ms_max: int = _OPEN_MS_MAX,
    clock: Clock = SYSTEM,
) -> dict[str, Queue]:
    """Open several children of which one is enough: what does not answer in time, or is Unavailable, is a Late one.

    A late child is assumed to promise what the others do, with one lane, or as many as `lanes` says, and is looked at
    by `check` when it is open, which raises where it must not be used. beside: children that are open already. Raises
    what a child said that is wrong for good, or, where none can be opened, what the first one said.
    """
    opening = {key: asyncio.ensure_future(opener()) for key, opener in openers.items()}
    try:
        await asyncio.wait(opening.values(), timeout=open_ms_max / 1000)
        if not beside and not any(_is_open(each) for each in opening.values()):
            await asyncio.wait(opening.values(), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(opening.values(), timeout=open_ms_max / 1000)
        for each in opening.values():
            if each.done() and isinstance(error := each.exception(), Exception) and not _may_open_later(error):
                raise error
        found = {key: each.result() for key, each in opening.items() if _is_open(each)}
        if not found and not beside:
            next(each for each in opening.values() if each.done()).result()
    except BaseException:
        await _give_up(opening.values())
        raise
    others = [*found.values(), *beside]
    promised, said = reduce(and_, (queue.traits for queue in others)), lanes or {}
    assumed = {key: replace(promised, lanes=said.get(key, 1)) for key in openers.keys() - found.keys()}
    opened = found | {
        key: Late(key, openers[key], opening[key], each, name=others[0].name, check=check, clock=clock)
        for key, each in assumed.items()
    }
    return {key: opened[key] for key in openers}


def _is_open(opening: asyncio.Future[Queue]) -> bool:
    return opening.done() and not opening.cancelled() and opening.exception() is None


def _may_open_later(error: BaseException) -> bool:
    return isinstance(error, Unavailable | Uncertain)


async def _give_up(openings: Iterable[asyncio.Future[Queue]]) -> None:
    tasks = list(openings)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await close_all([task.result() for task in tasks if _is_open(task)])
