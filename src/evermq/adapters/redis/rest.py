"""Large entries, which lua/take.lua leaves to the reader that it leased their lane to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evermq.adapters.redis.lane import Lane
from evermq.adapters.redis.wire import Stretch, Wire

__all__ = ["with_the_rest"]

_STANDS, _REST, _ENTRIES = 0, 5, 6  # of a reply: see lua/take.lua


async def with_the_rest(wire: Wire, id: str, lanes: Sequence[Lane], replies: Sequence[Any]) -> list[Any]:
    """The replies, each with all its entries. What a list lost to a slower group meanwhile moves its indices: then they
    are read again. id: of the topic; one that was dropped since has no entries."""
    whole = list(replies)
    left = {row: _told(reply) for row, reply in enumerate(replies) if reply and reply[_REST]}
    while left:
        stretches = [Stretch(lanes[row], entry - head, count) for row, (entry, head, count) in left.items()]
        for row, (state, entries) in zip(list(left), await wire.entries(stretches), strict=True):
            entry, head, count = left.pop(row)
            now = int(state[1] or 0)
            if state[0] == id.encode() and head < now <= entry:
                left[row] = entry, now, count
            elif state[0] == id.encode() and now == head:
                whole[row] = [*whole[row], *entries]
    return whole


def _told(reply: Sequence[bytes]) -> tuple[int, int, int]:
    """The next entry that is to be read, the first one of the list, and how many are to be read."""
    head, count = map(int, reply[_REST].split(b","))
    return int(reply[_STANDS].split(b",")[1]) + len(reply) - _ENTRIES, head, count
