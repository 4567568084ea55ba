"""How often a message was tried, and whether it is to blame for what failed."""

from __future__ import annotations

from dataclasses import dataclass

from evermq.errors import EvermqError, Misconfigured, Partial, Unavailable, Uncertain
from evermq.port import Delivery

__all__ = ["Attempts", "is_blameless", "is_lost"]


@dataclass(slots=True)
class Attempts:
    """Of one consumer, of one message. failed: those that failed, which says how long to wait. counted: those of them
    that say something of the message."""

    failed: int = 0
    counted: int = 0

    def add(self, error: BaseException) -> None:
        self.failed += 1
        self.counted += not is_blameless(error)


def is_blameless(error: BaseException) -> bool:
    """Whether this says nothing of the message, and another one would have failed as well: what the handler needs is
    away, or set up wrongly."""
    if isinstance(error, Partial):
        return all(is_blameless(each) for each in error.outcomes if isinstance(each, EvermqError))
    return isinstance(error, Unavailable | Uncertain | Misconfigured)


def is_lost(delivery: Delivery) -> bool:
    """Whether another reader has it by now, as far as its reader can tell before it gives it back."""
    return bool(getattr(delivery.receipt, "is_lost", False))
