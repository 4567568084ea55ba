"""Progress as a store on a network has it: every call takes its time, both ways, and may fail before or after its
effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import TypeVar

from evermq.progress.memory import MemoryPart, MemoryProgress
from evermq.settling import Renewed, Report, States

__all__ = ["DistantPart", "DistantProgress", "Way"]

T = TypeVar("T")
Way = Callable[[str, bool], Awaitable[None]]


class DistantProgress:
    """See `Progress`. way(call, is_back): on the way there and back, where a call waits, or raises."""

    def __init__(self, store: MemoryProgress, way: Way) -> None:
        self.store = store
        self.way = way

    async def join(self, group: str) -> DistantPart:
        return DistantPart(await self.store.join(group), self.way)

    async def close(self) -> None:
        await self.store.close()


class DistantPart:
    """See `Part`."""

    def __init__(self, part: MemoryPart, way: Way) -> None:
        self.part = part
        self.way = way
        self.silent_ms_max = part.silent_ms_max
        self.record = part.record

    async def claim(self, lanes: Collection[int]) -> States:
        return await self._go("claim", self.part.claim, lanes)

    async def give_back(self, lanes: Collection[int]) -> None:
        await self._go("give_back", self.part.give_back, lanes)

    async def settle(self, states: States) -> None:
        await self._go("settle", self.part.settle, states)

    async def look(self, lanes: Collection[int], streams: Collection[str] | None = None) -> States:
        return await self._go("look", partial(self.part.look, streams=streams), lanes)

    async def renew(self, report: Report) -> Renewed:
        return await self._go("renew", self.part.renew, report)

    async def collect(self, streams: Mapping[int, Collection[str]], day: int) -> Collection[str]:
        return await self._go("collect", partial(self.part.collect, day=day), streams)

    async def leave(self) -> None:
        await self.part.leave()

    async def _go(self, call: str, act: Callable[..., Awaitable[T]], what: object) -> T:
        await self.way(call, False)
        result = await act(what)
        await self.way(call, True)
        return result
