"""evermq keeps messages flowing when the message queue does not."""

from pathlib import Path as _Path

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
    "open",
]


async def open(target: str, config: str | _Path | None = None) -> Queue:
    """The queue of a URL such as log:///var/lib/orders/orders, or of a topic that a configuration file describes.

    Raises Misconfigured where URL or configuration are wrong, Unavailable where nobody answers.
    """
    from evermq.compose.build import open as build_open  # the engines are imported only when they are used

    return await build_open(target, config)
