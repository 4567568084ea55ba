"""None of the ladder's own doubles, in whatever order they come."""

from __future__ import annotations

from typing import ClassVar

from evermq.policy.ordered import Ordered

__all__ = ["Deduped"]


class Deduped(Ordered):
    """As Ordered, with the same numbers, but a message is held for no other: only copies are dropped."""

    has_order: ClassVar[bool] = False
