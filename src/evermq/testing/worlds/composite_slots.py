"""The slots of a simulated host: each is a site, with a mark and a holder that a crash of its process lets go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_

from evermq.clock import Clock
from evermq.message import Message
from evermq.port import Queue, Reader, Start
from evermq.position import Position
from evermq.slot import HeldSlot
from evermq.testing.worlds.composite_site import Link
from evermq.traits import Traits

__all__ = ["SimulatedSlots"]

_WAIT_MS = 20
_WANTED_MS = 5_000


class SimulatedSlots:
    """See `Slots`: what one process sees of them. name: of the producer, whose own slot it waits for."""

    def __init__(self, links: Sequence[Link], clock: Clock, name: str = "") -> None:
        self._links = links
        self._clock = clock
        self._name = name
        self._own: _Held | None = None
        self.traits: Traits = reduce(and_, (link.traits for link in links))

    async def own(self) -> HeldSlot:
        if self._own is None:
            self._own = await self._named() if self._name else self._take_free()
        return self._own

    async def orphan(self) -> HeldSlot | None:
        for link in self._links:
            state = link.site.slot
            held = _Held(link, self._clock)
            if _is_free(link) and not state.is_empty and not held.is_wanted:
                state.holder = link
                return held
        return None

    async def backlog(self, group: str) -> int:
        return sum([await link.backlog(group) for link in self._links])

    async def close(self) -> None:
        for link in self._links:
            if link.site.slot.holder is link and not link.is_cut:  # else the kernel does it
                link.site.slot.holder = None

    async def _named(self) -> _Held:
        mine = next((link for link in self._links if link.site.slot.name == self._name), None)
        if mine is None:
            held = self._take_free()
            held.link.site.slot.name = self._name
            return held
        while not _is_free(mine):
            mine.site.slot.wanted_until_ms = self._clock.monotonic_ms() + _WANTED_MS
            await self._clock.sleep(_WAIT_MS)
        mine.site.slot.wanted_until_ms = 0
        mine.site.slot.holder = mine
        return _Held(mine, self._clock)

    def _take_free(self) -> _Held:
        link = next(link for link in self._links if _is_free(link) and not link.site.slot.name)
        link.site.slot.holder = link
        return _Held(link, self._clock)


def _is_free(link: Link) -> bool:
    holder = link.site.slot.holder
    return holder is None or holder.is_gone


@dataclass(slots=True)
class _Held:
    """See `HeldSlot`. What a process does that is dead has no effect."""

    link: Link
    clock: Clock
    incarnation: int = 1

    @property
    def name(self) -> str:
        return self.link.name

    @property
    def is_named(self) -> bool:
        return bool(self.link.site.slot.name)

    @property
    def is_empty(self) -> bool:
        return self.link.site.slot.is_empty

    @property
    def is_wanted(self) -> bool:
        return self.clock.monotonic_ms() < self.link.site.slot.wanted_until_ms

    def mark(self, *, empty: bool) -> None:
        if not self.link.is_cut:
            self.link.site.slot.is_empty = empty

    def memory(self, size_bytes: int) -> memoryview:
        return memoryview(bytearray(size_bytes))

    async def queue(self) -> Queue:
        return _Opened(self.link)

    async def groups(self) -> Collection[str]:
        return ()

    async def release(self) -> None:
        if not self.link.is_cut and self.link.site.slot.holder is self.link:
            self.link.site.slot.holder = None


class _Opened:
    """See `Queue`: the log of a slot, which may be opened again after it was closed."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.name = link.name

    @property
    def traits(self) -> Traits:
        return self._link.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await self._link.append(messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return await self._link.reader(group, start=start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await self._link.backlog(group, lane)

    async def close(self) -> None:
        """Nothing is held but by readers, which close themselves."""
