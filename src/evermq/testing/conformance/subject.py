"""What is to be tested, and how the suite gets at it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from evermq.port import Place, Queue
from evermq.traits import Traits

__all__ = ["GROUPS", "Open", "Opened", "Subject", "declared"]

GROUPS = ("one", "two", "three")  # declare these on the topic where groups are not made by reader()


@dataclass(slots=True)
class Opened:
    """A fresh, empty topic. queue: on it. The rest is there where the subject says so.

    reopen: closes the queue, opens the same topic again as a new process would, and returns it.
    place: the control plane that the topic belongs to.
    """

    queue: Queue
    reopen: Callable[[], Awaitable[Queue]] | None = None
    place: Place | None = None


Open = Callable[[str], AbstractAsyncContextManager[Opened]]


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of queue.

    name: the first part of the test's id. open: given a topic name never used before, an async context manager
    that yields an `Opened`, and cleans up. traits: what the queues declare; checks of other promises are not run.
    reopens, places: `Opened.reopen` and `Opened.place` are there. makes_groups: reader() makes a new group; where it
    does not, `open` declares those of GROUPS. counts_fetched: `attempt` counts also what
    the engine sent ahead to a reader that gave it back unseen. held_max: how many messages the readers of a group have
    in hand at most; what is behind them comes when they are settled.
    """

    name: str
    open: Open
    traits: Traits
    reopens: bool = False
    places: bool = False
    makes_groups: bool = True
    counts_fetched: bool = False
    held_max: int = 1_000


def declared(open_: Open) -> Traits:
    """The traits that such a queue declares, found by opening one. Not inside a running event loop."""

    async def look() -> Traits:
        async with open_("traits") as opened:
            return opened.queue.traits

    return asyncio.run(look())
