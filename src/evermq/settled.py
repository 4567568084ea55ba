"""Which numbers of one stream a group has settled: a prefix, and runs beyond it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection

__all__ = ["Settled"]


class Settled:
    """next: all numbers below it are settled. floor: the first number that the group ever saw of the stream, so that
    what is older is from before its time. absent: numbers that were passed over, since they were nowhere. waived: below
    it all were that are not settled; what still comes of these is late, and not a copy. passed: this one went past what
    was nowhere, so that what is before it and comes all the same is late. tries: how often numbers that
    are not settled were begun, where that failed. day: since 1970, on which it was last written; 0 where that is not
    known."""

    __slots__ = ("_closed", "_starts", "_stops", "absent", "day", "floor", "next", "passed", "tries", "waived")

    def __init__(self, next: int = 1, floor: int = 1) -> None:
        self.next = next
        self.floor = floor
        self.absent: set[int] = set()
        self.waived = 0
        self.passed = 0
        self.day = 0
        self.tries: dict[int, int] = {}
        self._starts: list[int] = []  # of the runs beyond `next`, in order; no two of them touch
        self._stops: list[int] = []
        self._closed = 0  # nothing below it is open

    def __contains__(self, seq: int) -> bool:
        if seq < self.next:
            return True
        at = bisect_right(self._starts, seq)
        return at > 0 and seq < self._stops[at - 1]

    def add(self, seq: int) -> None:
        """This number is settled; again is harmless."""
        if seq == self.next:
            self.next = seq + 1
            if self._starts and self._starts[0] == self.next:
                self.next = self._stops.pop(0)
                del self._starts[0]
        elif seq > self.next and seq not in self:
            self._insert(seq)
        if self.absent:
            self.absent.discard(seq)
        if self.tries:
            self.tries.pop(seq, None)

    def add_below(self, stop: int, *, but: Collection[int]) -> None:
        """All numbers below `stop` are settled, except these."""
        runs = sorted([(self.next, self.next), *zip(self._starts, self._stops, strict=True)])
        start = 1
        for seq in [*sorted(seq for seq in but if seq < stop), stop]:
            if start < seq:
                runs.append((start, seq))
            start = seq + 1
        merged = [(1, self.next)]
        for begin, end in sorted(runs):
            if begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        self.next = merged[0][1]
        self._starts = [begin for begin, _ in merged[1:]]
        self._stops = [end for _, end in merged[1:]]
        self.tries = {seq: count for seq, count in self.tries.items() if seq not in self}

    def open_from(self, seq: int) -> int:
        """The first number that is not settled, from this one on."""
        if seq < self.next:
            return self.next
        at = bisect_right(self._starts, seq)
        return self._stops[at - 1] if at > 0 and seq < self._stops[at - 1] else seq

    def is_passed_over(self, seq: int) -> bool:
        """Whether what comes behind this number need not wait for it, although it is not settled."""
        return seq < self.waived or seq in self.absent

    def first_open(self, stop: int) -> int:
        """The first number below `stop` that is neither settled nor passed over; 0 if there is none."""
        seq = self.next
        for begin, end in [*zip(self._starts, self._stops, strict=True), (stop, stop)]:
            while seq < min(begin, stop):
                if not self.is_passed_over(seq):
                    return seq
                seq = max(seq + 1, min(self.waived, begin))
            seq = max(seq, end)
        return 0

    def pack(self) -> str:
        """As text: next, floor, runs, what is absent, waived, tries, day, what was passed; the inverse of `unpack`.

        What is not there is left out from the end."""
        runs = ",".join(f"{a:x}-{b:x}" for a, b in zip(self._starts, self._stops, strict=True))
        absent = ",".join(f"{seq:x}" for seq in sorted(self.absent))
        tries = ",".join(f"{seq:x}-{count:x}" for seq, count in self.tries.items()) if self.tries else ""
        text = f"{self.next:x};{self.floor:x};{runs};{absent}"
        if self.passed >= self.next:
            return f"{text};{self.waived:x};{tries};{self.day:x};{self.passed:x}"
        if self.day:
            return f"{text};{self.waived:x};{tries};{self.day:x}"
        if tries:
            return f"{text};{self.waived:x};{tries}"
        return f"{text};{self.waived:x}" if self.waived else text

    @classmethod
    def unpack(cls, text: str) -> Settled:
        """Raises ValueError."""
        following, floor, runs, absent, *rest = text.split(";")
        found = cls(int(following, 16), int(floor, 16))
        waived, tries, day, passed = [*rest, *("0", "", "0", "0")[len(rest) :]]
        found.waived, found.tries, found.day = int(waived, 16), dict(_pairs(tries)), int(day, 16)
        found.passed = int(passed, 16)
        for start, stop in _pairs(runs):
            found._starts.append(start)
            found._stops.append(stop)
        found.absent = {int(seq, 16) for seq in absent.split(",")} if absent else set()
        return found

    def front(self, seq: int) -> int:
        """Where what is open begins: below it all is settled or passed over, and nothing from it on is settled. 0 where
        there is no such number, or where this one is late."""
        if not self._starts and not self.absent:
            return self.next if self.waived <= self.next else 0
        if seq < self.passed or self.is_passed_over(seq):
            return 0
        if not self._starts:
            return self.next
        if self._closed < self._starts[-1]:  # it stays so, once it is
            if self.next >= self.waived and self.next not in self.absent:
                return 0
            if self.first_open(self._starts[-1]):
                return 0
            self._closed = self._starts[-1]
        return self._stops[-1]

    @property
    def holes(self) -> int:
        """How many gaps there are below the highest settled number."""
        return len(self._starts)

    def _insert(self, seq: int) -> None:
        starts, stops = self._starts, self._stops
        at = bisect_right(starts, seq)
        joins_left = at > 0 and stops[at - 1] == seq
        joins_right = at < len(starts) and starts[at] == seq + 1
        if joins_left and joins_right:
            stops[at - 1] = stops.pop(at)
            del starts[at]
        elif joins_left:
            stops[at - 1] = seq + 1
        elif joins_right:
            starts[at] = seq
        else:
            starts.insert(at, seq)
            stops.insert(at, seq + 1)


def _pairs(text: str) -> list[tuple[int, int]]:
    pairs = [each.split("-") for each in text.split(",")] if text else []
    return [(int(first, 16), int(second, 16)) for first, second in pairs]
