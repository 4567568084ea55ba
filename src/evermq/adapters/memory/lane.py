"""One lane: messages under dense offsets, each kept until every group has settled it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from evermq.message import Message

__all__ = ["Lane", "Stored"]


@dataclass(slots=True)
class Stored:
    """A message, when it was appended, and how many groups have still to settle it."""

    message: Message
    appended_ms: int
    groups: int


@dataclass(slots=True)
class Lane:
    """`stored`: by offset, in order. `end`: the offset that the next message will get."""

    name: str
    stored: dict[int, Stored] = field(default_factory=dict)
    end: int = 0

    def add(self, message: Message, appended_ms: int, groups: int) -> int:
        """Store a message; returns its offset."""
        offset = self.end
        self.stored[offset] = Stored(message, appended_ms, groups)
        self.end += 1
        return offset

    def settle(self, offset: int) -> None:
        """One group has settled it; the last one drops it."""
        stored = self.stored[offset]
        stored.groups -= 1
        if stored.groups == 0:
            del self.stored[offset]

    def join(self, first: int) -> Iterator[int]:
        """A new group begins at `first`: yields what it will see, and drops what no group will."""
        for offset, stored in list(self.stored.items()):
            if offset >= first:
                stored.groups += 1
                yield offset
            elif stored.groups == 0:
                del self.stored[offset]

    def offset_at(self, time_ms: int) -> int:
        """The first offset that was appended at this time or later."""
        return next((o for o, stored in self.stored.items() if stored.appended_ms >= time_ms), self.end)
