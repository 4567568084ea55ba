"""What a group passes over because it is damaged: where it lay, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from evermq.adapters.log.damage import Damage
from evermq.adapters.log.index import Location
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.reading import Reading
from evermq.adapters.log.segment import STORED, name_of
from evermq.errors import Damaged

__all__ = ["Gap", "damaged", "gaps_in"]

_FRONT = Location(0, 0)
_END = Location(1 << 64, 0)


class Gap(NamedTuple):
    """Offsets of a lane that a group went past, since nothing is stored there."""

    lane: int
    offsets: range

    def __str__(self) -> str:
        first, last = self.offsets.start, self.offsets.stop - 1
        return f"lane {self.lane} " + (f"offset {first}" if first == last else f"offsets {first} to {last}")


def gaps_in(lane: int, first: int, ranges: Iterable[range], end: int) -> Iterator[Gap]:
    """What of the offsets from `first` up to `end` is in none of these ranges."""
    for each in ranges:
        if each.start > first:
            yield Gap(lane, range(first, each.start))
        first = each.stop
    if end > first:
        yield Gap(lane, range(first, end))


def damaged(
    directory: str, name: str, number: int, gaps: Sequence[Gap], reading: Reading, journal: Journal
) -> Damaged | None:
    """The error that tells of those of a topic's gaps that are damage, None where all are what retention took, or a
    policy that does not flush."""
    found = {gap: journal.damages_between(*_bounds(number, gap, reading, journal)) for gap in gaps}
    hit = [str(gap) for gap, damages in found.items() if damages]
    damages = dict.fromkeys(damage for each in found.values() for damage in each)
    if not hit:
        return None
    where = "; ".join(map(_place_of, damages))
    return Damaged(
        f"{directory}: messages of topic {name} are damaged and were passed over: {', '.join(hit)} ({where}); the next "
        f"read goes on behind them, and `evermq verify {directory}` says what else is not intact"
    )


def _place_of(damage: Damage) -> str:
    if damage.missing:
        return f"{name_of(damage.segment)} is missing"
    return f"{name_of(damage.segment)}, {damage.length} bytes at {damage.position}"


def _bounds(topic: int, gap: Gap, reading: Reading, journal: Journal) -> tuple[Location, Location]:
    """Where the lane's last entry before a gap lies, and its first one behind it."""
    at = reading.find(topic, gap.lane, gap.offsets.start)
    if at is None:
        return _FRONT, _END
    known = at if journal.state.index.lane(topic, gap.lane).start <= gap.offsets.start else _FRONT
    for frame in reading.frames(at):
        here = Location(frame.segment, frame.position)
        for entry in frame.entries:
            if (entry.topic, entry.lane) == (topic, gap.lane) and entry.kind in STORED:
                if entry.offset > gap.offsets.start:
                    return known, here
                known = here
    return known, _END
