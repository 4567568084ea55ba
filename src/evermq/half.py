"""The port of two-phase messages: a half message is stored, and handed to nobody until its sender says what became of
it.

A sender that dies in between says nothing, so the engine asks: whoever has the halves of a topic open answers, for the
halves of other processes too. What the answer rests on has to be written where a crash leaves it, for example a row in
the transaction that the message belongs to. A row that is missing proves nothing, the transaction may still be under
way: insert it as rolled back, under the same unique key, and only then answer ROLL_BACK.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol, runtime_checkable

from evermq.message import Message

__all__ = ["Check", "Decision", "Half", "Halves", "HoldsHalves"]


class Decision(Enum):
    """What became of the transaction that a half message belongs to."""

    COMMIT = "commit"  # the message is for everybody
    ROLL_BACK = "roll back"  # it never was
    UNKNOWN = "unknown"  # ask again later


Check = Callable[[Message], Awaitable[Decision]]


class Half(Protocol):
    """A message that is stored, and waits for its sender's word."""

    @property
    def message(self) -> Message: ...

    async def commit(self) -> None:
        """Hand it out from now on. Raises Uncertain or Unavailable where the word may be lost. An engine that has not
        heard it, whether this raised or not, asks."""
        ...

    async def roll_back(self) -> None:
        """Never hand it out. Raises as `commit`."""
        ...


class Halves(Protocol):
    """The half messages of one topic; as long as this is open, this process answers for them."""

    async def prepare(self, message: Message) -> Half:
        """Store a half message as durably as the traits of its queue say. Raises as `Queue.append`; one that is
        Uncertain is asked after like any other."""
        ...

    async def close(self) -> None:
        """Answer nothing any more; again is harmless."""
        ...


@runtime_checkable
class HoldsHalves(Protocol):
    """A queue whose engine has half messages."""

    async def halves(self, check: Check) -> Halves:
        """Open them. check: what became of the transaction of a message; may be called for a message again, and for
        those of other processes; one that raises counts as UNKNOWN. Raises Unavailable, Denied, Unsupported."""
        ...
