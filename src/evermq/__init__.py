"""evermq keeps messages flowing when the message queue does not."""

from evermq.errors import (
    EvermqError,
    Overloaded,
    Partial,
    Rejected,
    Unavailable,
    Uncertain,
)
from evermq.message import Message, MessageFactory
from evermq.port import Delivery, Queue, Reader, Start
from evermq.position import Position
from evermq.traits import Traits

__all__ = [
    "Delivery",
    "EvermqError",
    "Message",
    "MessageFactory",
    "Overloaded",
    "Partial",
    "Position",
    "Queue",
    "Reader",
    "Rejected",
    "Start",
    "Traits",
    "Unavailable",
    "Uncertain",
]
