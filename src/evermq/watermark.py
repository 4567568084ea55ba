"""The sliding window: numbers are done in any order, the prefix that is wholly done comes out.

As TCP's receive window: `low` never passes a number that is not done. The same class serves per-message
acknowledgements over engines that only commit a prefix, the write-ahead queue and the pump. It lives in the core,
because adapters need it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from evermq.errors import Overloaded

__all__ = ["Watermark"]

_SLOTS_FIRST = 64
_STEPS = 16  # looked at one by one, before a search over many: most runs are short


class Watermark:
    """A byte a number, in a ring that grows by doubling up to `count_max`.

    low: the first number that is not done. Marking twice, or below `low`, is harmless. Marking at or beyond
    low + count_max raises Overloaded and changes nothing: stop handing out work until `low` has moved.
    """

    __slots__ = ("_count_max", "_done", "_mask", "_reach", "low")

    def __init__(self, start: int = 0, *, count_max: int = 1_000_000) -> None:
        self.low = start
        self._count_max = count_max
        self._done = bytearray(_SLOTS_FIRST)
        self._mask = _SLOTS_FIRST - 1
        self._reach = min(_SLOTS_FIRST, count_max) - 1

    def mark(self, number: int) -> None:
        """This number is done."""
        low = self.low
        if number > low:
            if number - low > self._reach:
                self._grow(number)
            self._done[number & self._mask] = 1
        elif number == low:
            self._advance()

    def mark_many(self, numbers: Iterable[int]) -> None:
        """These numbers are done; if one is out of bounds, those before it are marked."""
        mark = self.mark
        for number in numbers:
            mark(number)

    def mark_range(self, start: int, stop: int) -> None:
        """The numbers from `start` up to, but without, `stop` are done."""
        start = max(start, self.low)
        if stop <= start:
            return
        if stop - 1 - self.low > self._reach:
            self._grow(stop - 1)
        first, last = start & self._mask, (stop - 1) & self._mask
        if first <= last:
            self._done[first : last + 1] = b"\1" * (stop - start)
        else:
            self._done[first:] = b"\1" * (len(self._done) - first)
            self._done[: last + 1] = b"\1" * (last + 1)
        if start == self.low:
            self._advance()

    def done(self, number: int) -> bool:
        """Whether this number is done."""
        low = self.low
        return number < low or (number - low <= self._mask and bool(self._done[number & self._mask]))

    def done_ranges(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of everything that is done beyond `low`, in order; what must be kept over a restart."""
        unrolled = self._unrolled()
        at = unrolled.find(1)
        while at >= 0:
            stop = unrolled.find(0, at)
            stop = len(unrolled) if stop < 0 else stop
            yield self.low + at, self.low + stop
            at = unrolled.find(1, stop)

    @property
    def room(self) -> int:
        """How far beyond `low` numbers may be marked."""
        return self._count_max

    def _advance(self) -> None:
        """`low` was just done: move it past everything done behind it, and clear what it leaves."""
        done, mask = self._done, self._mask
        low = self.low
        done[low & mask] = 0
        low += 1
        for _ in range(_STEPS):
            at = low & mask
            if not done[at]:
                self.low = low
                return
            done[at] = 0
            low += 1
        self.low = self._skip(low)

    def _skip(self, low: int) -> int:
        done, size = self._done, len(self._done)
        while True:
            at = low & self._mask
            stop = done.find(0, at)
            if stop < 0:
                stop = size
            done[at:stop] = bytes(stop - at)
            low += stop - at
            if stop < size or not done[0]:
                return low

    def _grow(self, number: int) -> None:
        if number - self.low >= self._count_max:
            raise Overloaded(
                f"number {number} is {number - self.low} beyond {self.low}, which is not done: the limit is "
                f"{self._count_max}; wait for what is older"
            )
        slots = len(self._done)
        while slots <= number - self.low:
            slots *= 2
        unrolled = self._unrolled()
        self._done = bytearray(slots)
        self._mask = slots - 1
        self._reach = min(slots, self._count_max) - 1
        at = self.low & self._mask
        head = min(len(unrolled), slots - at)
        self._done[at : at + head] = unrolled[:head]
        self._done[: len(unrolled) - head] = unrolled[head:]

    def _unrolled(self) -> bytearray:
        at = self.low & self._mask
        return self._done[at:] + self._done[:at]
