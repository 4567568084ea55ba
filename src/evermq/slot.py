"""A producer's own place on its host: a local log that is pumped, and memory that survives the process."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from evermq.port import Queue
from evermq.traits import Traits

__all__ = ["HeldSlot", "Slot", "Slots"]


class Slot(Protocol):
    """Held by one process at a time."""

    @property
    def name(self) -> str:
        """Unique in the deployment: host and number of the slot, or the name that the producer was given."""
        ...

    @property
    def incarnation(self) -> int:
        """Rises after a power loss, or when the memory was lost."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether everything appended to the slot's log has been pumped."""
        ...

    @property
    def is_named(self) -> bool:
        """Whether it is reclaimed by its name (`--producer NAME`), not the first one that was free."""
        ...

    def memory(self, size_bytes: int) -> memoryview:
        """The same bytes again for the same slot, zeros at first. They survive a kill, not a power loss. Raises
        Unavailable where there is no room for them."""
        ...


class HeldSlot(Slot, Protocol):
    """A slot as the process sees it that holds it."""

    @property
    def is_wanted(self) -> bool:
        """Whether the producer whose slot it is waits for it."""
        ...

    def mark(self, *, empty: bool) -> None:
        """Note whether its log holds anything, for who finds the slot after a kill. Before an append, and after the
        last message was pumped."""
        ...

    async def queue(self) -> Queue:
        """Its log, opened by the first call."""
        ...

    async def groups(self) -> Collection[str]:
        """Those that read its log, or did."""
        ...

    async def release(self) -> None:
        """Close its log and leave it to others."""
        ...


class Slots(Protocol):
    """The slots of a topic on this host."""

    @property
    def traits(self) -> Traits:
        """Of the log of any of them."""
        ...

    async def own(self) -> HeldSlot:
        """The slot of this process, taken by the first call. Raises Unavailable while another process holds it."""
        ...

    async def orphan(self) -> HeldSlot | None:
        """A slot that may hold something, and whose process is gone; None if there is none."""
        ...

    async def backlog(self, group: str) -> int:
        """What is left for a group in all of them, held or not, whether or not their logs are open."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...
