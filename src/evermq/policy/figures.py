"""What order and dedupe do to the messages of a process, as numbers that others may be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evermq.policy.flights import Flights
from evermq.policy.ordered_reader import OrderedReader

__all__ = ["Figures"]


class Figures:
    """Of one queue. Readers that are closed go on to count, so that no sum ever goes down."""

    def __init__(self) -> None:
        self._past: Counter[str] = Counter()

    def leave(self, readers: Sequence[OrderedReader]) -> None:
        """These are forgotten from now on, and what they did is not."""
        for reader in readers:
            self._past.update(_of_reader(reader))

    def sums(self, readers: Sequence[OrderedReader], flights: Flights | None) -> dict[str, int]:
        """held: messages that had to wait; doubles: copies set aside; voids: numbers without a message; flagged: handed
        out although something before them is missing; foreign: without a number; returned: lanes that went to other
        readers; voids_sent, repeated: of the producer. Now: holding: messages; hold_ms: how long the oldest has."""
        found = self._past.copy()
        for reader in readers:
            found.update(_of_reader(reader))
        now = [reader for reader in readers if not reader.closed]
        return {
            **{name: found[name] for name in ("held", "doubles", "voids", "flagged", "foreign", "returned")},
            "voids_sent": flights.counts.voids if flights else 0,
            "repeated": flights.counts.repeated if flights else 0,
            "holding": sum(reader.holding for reader in now),
            "hold_ms": max((reader.hold_ms for reader in now), default=0),
        }


def _of_reader(reader: OrderedReader) -> dict[str, int]:
    counts = reader.counts
    return {
        "held": counts.held,
        "doubles": counts.dropped,
        "voids": counts.voids,
        "flagged": counts.flagged,
        "foreign": counts.foreign,
        "returned": counts.returned,
    }
