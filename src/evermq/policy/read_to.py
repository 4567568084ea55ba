"""How far a reader has read in the lanes of its rungs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zlib import crc32

from evermq.port import Delivery, Queue, Reader
from evermq.settling import Identified, Reopens

__all__ = ["ReadTo", "places"]


class ReadTo:
    """What is below is settled, or this reader has it.

    What was read of a topic says nothing of another one of its name: where a rung was made anew, or its reader was
    opened again (perhaps for that reason), all that was read there is forgotten. inner: the reader of all rungs."""

    def __init__(self, rungs: Mapping[str, Queue] | None = None, inner: Reader | None = None) -> None:
        self._at: dict[tuple[tuple[str, ...], str], int] = {}  # by rungs and lane
        self._rungs = rungs or {}
        self._inner = inner if isinstance(inner, Reopens) else None
        self._places: dict[str, str] = {}
        self._openings: Mapping[str, int] = {}

    def saw(self, found: Iterable[Delivery]) -> None:
        """These were read."""
        self._forget_what_is_anew()
        at = self._at
        for delivery in found:
            place = delivery.position
            lane, offset = (place.via, place.lane), place.offset
            # What is handed out for the first time, and is behind, is of a lane whose offsets have gone back.
            if offset is not None and (at.get(lane, -1) <= offset or delivery.attempt == 1):
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
        self._forget_what_is_anew()
        named: dict[tuple[str, ...], str] = {(key,): place for key, place in self._places.items()}
        return {f"{named.get(via) or '/'.join(via)}/{lane}": offset for (via, lane), offset in self._at.items()}

    def _forget_what_is_anew(self) -> None:
        found = places(self._rungs)
        openings: Mapping[str, int] = self._inner.openings if self._inner else {}
        if found != self._places or openings != self._openings:
            same = {
                key
                for key, place in found.items()
                if self._places.get(key) == place and self._openings.get(key) == openings.get(key)
            }
            self._at = {place: offset for place, offset in self._at.items() if place[0] and place[0][0] in same}
            self._places, self._openings = found, openings


def places(rungs: Mapping[str, Queue]) -> dict[str, str]:
    """What reports call rungs: by their keys, with a sign of the topic where they tell one from another of its name."""
    ids = {key: rung.topic_id if isinstance(rung, Identified) else "" for key, rung in rungs.items()}
    return {key: f"{key}@{crc32(id.encode()):x}" if id else key for key, id in ids.items()}
