"""Which offsets of a lane are done."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from evermq.watermark import Watermark

__all__ = ["Done"]

_NEAR = 1 << 16


class Done:
    """A `Watermark` for the next `near` offsets, and ranges for what is done beyond: as large as it has gaps, however
    far they lie apart, since behind one message that is held for hours all the others are one range."""

    __slots__ = ("_count", "_near", "_starts", "_stops")

    def __init__(self, low: int, near: int = _NEAR) -> None:
        self._near = Watermark(low, count_max=near)
        self._count = near
        self._starts: list[int] = []
        self._stops: list[int] = []

    @property
    def low(self) -> int:
        """The first offset that is not done."""
        return self._near.low

    def mark_range(self, start: int, stop: int) -> None:
        """The offsets from `start` up to, but without, `stop` are done."""
        edge = self._near.low + self._count
        self._near.mark_range(start, min(stop, edge))
        if stop > max(start, edge):
            self._mark_far(max(start, edge), stop)
        if self._starts:
            self._draw_near()

    def mark_many(self, offsets: Sequence[int]) -> None:
        """These are done."""
        edge = self._near.low + self._count
        if max(offsets, default=0) < edge:
            self._near.mark_many(offsets)
        else:
            self._near.mark_many([offset for offset in offsets if offset < edge])
            for offset in offsets:
                if offset >= edge:
                    self._mark_far(offset, offset + 1)
        if self._starts:
            self._draw_near()

    def is_done(self, offset: int) -> bool:
        """Whether this offset is done."""
        at = bisect_right(self._starts, offset)
        return self._near.done(offset) or (at > 0 and offset < self._stops[at - 1])

    def ranges(self) -> list[tuple[int, int]]:
        """(start, stop) of all that is done beyond `low`, in order."""
        near, far = list(self._near.done_ranges()), list(zip(self._starts, self._stops, strict=True))
        if near and far and near[-1][1] == far[0][0]:
            return [*near[:-1], (near[-1][0], far[0][1]), *far[1:]]
        return near + far

    def _mark_far(self, start: int, stop: int) -> None:
        starts, stops = self._starts, self._stops
        first, last = bisect_left(stops, start), bisect_right(starts, stop)  # these touch it
        if first < last:
            start, stop = min(start, starts[first]), max(stop, stops[last - 1])
        starts[first:last], stops[first:last] = (start,), (stop,)

    def _draw_near(self) -> None:
        """What `low` has come near enough to goes over to the window, and may let it move on."""
        starts, stops, near = self._starts, self._stops, self._near
        drawn = 0
        while drawn < len(starts) and starts[drawn] < near.low + self._count:
            cut = min(stops[drawn], near.low + self._count)
            near.mark_range(starts[drawn], cut)
            starts[drawn] = cut
            drawn += cut == stops[drawn]
        del starts[:drawn], stops[:drawn]
