"""What a queue promises, in values that are ordered, so that `min` composes them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

__all__ = ["Ack", "Durable", "Groups", "Order", "Traits"]


class Order(IntEnum):
    """In what order a group's readers are handed the messages of one producer."""

    NONE = 0
    KEY = 1
    LANE = 2


class Ack(IntEnum):
    """Whether an acknowledgement covers all before it, or one message alone."""

    PREFIX = 0
    SINGLE = 1


class Durable(IntEnum):
    """Which loss an acknowledged append survives: none, of the process, of power, of a node, of a centre."""

    MEMORY = 0
    PROCESS = 1
    DISK = 2
    REPLICATED = 3
    CENTRE = 4


class Groups(IntEnum):
    """Whether several groups each get every message."""

    ONE = 0
    MANY = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The promises of one queue.

    lanes: how many (1 at least). replay: a group may start at an earlier offset or time.
    delay_ms_max: longest delay, 0 for none. message_bytes_max: body, key and headers together.
    batch_count_max: messages an append may carry. dedup_window_ms: how long the engine itself drops a
    second append of the same id, 0 for never.
    """

    order: Order
    ack: Ack
    durable: Durable
    groups: Groups
    lanes: int
    replay: bool
    delay_ms_max: int
    message_bytes_max: int
    batch_count_max: int
    dedup_window_ms: int = 0

    def __and__(self, other: Traits) -> Traits:
        """The weaker promise of the two, field by field."""
        return Traits(**{f.name: min(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})
