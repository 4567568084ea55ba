"""Who says at which rung of a ladder appends begin: a hand, or a switch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from evermq.errors import EvermqError, Misconfigured
from evermq.message import Message

__all__ = ["Choice", "Steers"]


class Steers(Protocol):
    """Asked before each batch, and told what became of it. Neither may take time: senders wait."""

    @property
    def epoch(self) -> int:
        """Counts the changes."""
        ...

    def begin(self) -> int:
        """The rung to begin with, 0 being the primary."""
        ...

    @property
    def home(self) -> int:
        """What the last `begin` would have said, had it not tried a lower rung: where that goes on if it fails."""
        ...

    def away(self) -> Collection[int]:
        """Lanes of the primary whose messages begin at a lower rung instead."""
        ...

    def tries(self, lane: int) -> bool:
        """Whether what there is for a lane that is away goes to the primary all the same, this time."""
        ...

    def lower(self) -> int:
        """The rung where the other messages for lanes that are away begin."""
        ...

    def saw(
        self,
        rung: str,
        messages: Sequence[Message],
        error: EvermqError | None,
        *,
        began_ms: int,
        ended_ms: int,
        epoch: int,
    ) -> None:
        """A rung was offered a batch: error is None if all of it went in. epoch: the one in which it began; times by
        the monotonic clock."""
        ...

    async def close(self) -> None:
        """The ladder is closed."""
        ...


class Choice:
    """See `Steers`. Which rung is tried first, given by hand. `epoch` counts the changes."""

    def __init__(self, rung: int = 0) -> None:
        self.rung = rung
        self.epoch = 0

    @property
    def home(self) -> int:
        return self.rung

    def set(self, rung: int) -> None:
        """Begin with this rung from now on."""
        if rung < 0:
            raise Misconfigured(f"rung {rung}: rungs count from 0, the primary")
        if rung != self.rung:
            self.rung = rung
            self.epoch += 1

    def begin(self) -> int:
        return self.rung

    def away(self) -> Collection[int]:
        return ()

    def tries(self, lane: int) -> bool:
        return False

    def lower(self) -> int:
        return 1

    def saw(
        self,
        rung: str,
        messages: Sequence[Message],
        error: EvermqError | None,
        *,
        began_ms: int,
        ended_ms: int,
        epoch: int,
    ) -> None:
        return

    async def close(self) -> None:
        return
