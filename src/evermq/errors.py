"""Every error of evermq, named by what the caller may do next.

EvermqError
├── Unavailable      certainly not appended: somewhere else, or later, may work
│   ├── Overloaded   the queue is full or the disk is: slow down, free space
│   ├── Fenced       another owner took over: open again
│   └── Closed       this queue or reader was closed: open again
├── Uncertain        perhaps appended: send it again under the same id, the reader recognises the second copy
├── Rejected         never accepted as it stands: change the message or the request
│   ├── TooLarge     over a limit
│   ├── Denied       not allowed
│   ├── NoSuchTopic  the topic (or its group) does not exist here
│   └── Unsupported  this engine cannot do that
├── Partial          some messages of a batch went in: `outcomes` says which
├── Misconfigured    a URL, a configuration key or an argument is wrong: correct it
└── Damaged          stored data cannot be understood: nothing was changed, see the message for the way out
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evermq.position import Position

__all__ = [
    "Closed",
    "Damaged",
    "Denied",
    "EvermqError",
    "Fenced",
    "Misconfigured",
    "NoSuchTopic",
    "Overloaded",
    "Partial",
    "Rejected",
    "TooLarge",
    "Unavailable",
    "Uncertain",
    "Unsupported",
]


class EvermqError(Exception):
    """The root of every error that evermq raises on purpose."""


class Unavailable(EvermqError):
    """Certainly not appended; another queue, or the same one later, may take it."""


class Overloaded(Unavailable):
    """Certainly not appended, because there is no room; slow down or free space."""


class Fenced(Unavailable):
    """Certainly not appended, because another owner took over; open the queue again."""


class Closed(Unavailable):
    """Certainly not appended, because this queue or reader was closed."""


class Uncertain(EvermqError):
    """Perhaps appended; sending again under the same id is safe where readers recognise doubles."""


class Rejected(EvermqError):
    """Never accepted as it stands, here or later."""


class TooLarge(Rejected):
    """Over a limit of the queue; the message names the limit."""


class Denied(Rejected):
    """The caller may not do this."""


class NoSuchTopic(Rejected):
    """The topic, or a group of it, does not exist and is not created without being asked for."""


class Unsupported(Rejected):
    """This engine cannot do what was asked; it is never silently left out."""


class Misconfigured(EvermqError):
    """A URL, configuration key or argument is wrong; the message names it and the fix."""


class Damaged(EvermqError):
    """Stored data cannot be understood; nothing was changed."""


class Partial(EvermqError):
    """A batch went in only in part.

    outcomes: one entry per message of the batch, in its order: the Position of what was appended, or the
    error (Unavailable, Uncertain or Rejected) of what was not.
    """

    def __init__(self, outcomes: Sequence[Position | EvermqError]) -> None:
        self.outcomes = outcomes
        failed = sum(isinstance(outcome, EvermqError) for outcome in outcomes)
        super().__init__(f"{failed} of {len(outcomes)} messages were not appended")

    def __reduce__(self) -> tuple[type[Partial], tuple[list[Position | EvermqError]]]:
        return (Partial, (list(self.outcomes),))
