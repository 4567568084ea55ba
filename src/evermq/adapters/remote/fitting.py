"""What of a read crosses the socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evermq.batch import size_of
from evermq.message import Message
from evermq.port import Delivery

__all__ = ["Parts", "fit"]

_OVERHEAD_BYTES = 200  # of a delivery: position, numbers, lengths
_HEADER_BYTES = 10  # two lengths


@dataclass(slots=True)
class Parts:
    """fits: by token, to be sent. later: to be read again at once. large: too large whatever stands beside it.

    What is behind a message of its key that is sent later is in none of them: it goes back with that."""

    fits: dict[int, Delivery] = field(default_factory=dict)
    later: list[Delivery] = field(default_factory=list)
    large: list[Delivery] = field(default_factory=list)


def fit(deliveries: Mapping[int, Delivery], bytes_max: int) -> Parts:
    """Divide what does not cross the socket at once."""
    parts = Parts()
    room = bytes_max - _OVERHEAD_BYTES
    left = room
    gone: set[bytes] = set()
    for token, delivery in deliveries.items():
        message = delivery.message
        if message.key in gone:
            continue
        size = _bytes_of(message)
        if size <= left:
            parts.fits[token] = delivery
            left -= size
            continue
        (parts.large if size > room else parts.later).append(delivery)
        if message.key is not None:
            gone.add(message.key)
    return parts


def _bytes_of(message: Message) -> int:
    """No fewer than it takes on the wire."""
    return size_of(message) + 4 * len(message.id) + _HEADER_BYTES * len(message.headers) + _OVERHEAD_BYTES
