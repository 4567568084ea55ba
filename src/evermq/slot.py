"""A producer's own place on its host: a local log that is pumped, and memory that survives the process."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Slot"]


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
        """The same bytes again for the same slot, zeros at first. They survive a kill, not a power loss."""
        ...
