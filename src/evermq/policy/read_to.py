"""How far one reader has read the lanes of its rungs."""

from __future__ import annotations

from collections.abc import Iterable

from evermq.port import Delivery

__all__ = ["ReadTo"]


class ReadTo:
    """What is below is settled, or this reader has it."""

    def __init__(self) -> None:
        self._at: dict[tuple[tuple[str, ...], str], int] = {}  # by rungs and lane

    def saw(self, found: Iterable[Delivery]) -> None:
        """These were read."""
        at = self._at
        for delivery in found:
            place = delivery.position
            lane, offset = (place.via, place.lane), place.offset
            if offset is not None and at.get(lane, -1) <= offset:
                at[lane] = offset + 1

    def gave_back(self, deliveries: Iterable[Delivery]) -> None:
        """These go back: whoever gets them may end without a word, so that nobody can tell any more what became of
        them."""
        at = self._at
        for delivery in deliveries:
            place = delivery.position
            lane, offset = (place.via, place.lane), place.offset
            if offset is not None and at.get(lane, 0) > offset:
                at[lane] = offset

    def report(self) -> dict[str, int]:
        """By `rung/lane`, see `evermq.settling.Report`."""
        return {f"{'/'.join(via)}/{lane}": offset for (via, lane), offset in self._at.items()}
