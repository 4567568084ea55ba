"""Which offsets of a lane are done."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

__all__ = ["Done"]


class Done:
    """low: the first offset that is not done; beyond it there are ranges.

    As a `Watermark`, but as large as it has gaps, however far they lie apart: behind one message that is held for hours
    all the others are one range.
    """

    __slots__ = ("_starts", "_stops", "low")

    def __init__(self, low: int) -> None:
        self.low = low
        self._starts: list[int] = []
        self._stops: list[int] = []

    def mark_range(self, start: int, stop: int) -> None:
        """The offsets from `start` up to, but without, `stop` are done."""
        start = max(start, self.low)
        if stop <= start:
            return
        starts, stops = self._starts, self._stops
        first, last = bisect_left(stops, start), bisect_right(starts, stop)  # these touch it
        if first < last:
            start, stop = min(start, starts[first]), max(stop, stops[last - 1])
        if start == self.low:
            self.low = stop
            del starts[:last], stops[:last]
        else:
            starts[first:last], stops[first:last] = (start,), (stop,)

    def mark_many(self, offsets: Iterable[int]) -> None:
        """These are done."""
        start = stop = self.low
        for offset in sorted(offsets):
            if offset > stop:
                self.mark_range(start, stop)
                start = offset
            stop = max(stop, offset + 1)
        self.mark_range(start, stop)

    def is_done(self, offset: int) -> bool:
        """Whether this offset is done."""
        at = bisect_right(self._starts, offset)
        return offset < self.low or (at > 0 and offset < self._stops[at - 1])

    def ranges(self) -> list[tuple[int, int]]:
        """(start, stop) of all that is done beyond `low`, in order."""
        return list(zip(self._starts, self._stops, strict=True))
