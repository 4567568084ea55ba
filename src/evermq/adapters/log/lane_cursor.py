"""What one group has done in one lane: pure state, no clock, no disk.

A lane is held by one reader while that reader has something of it that is not settled. What a reader releases
comes again in order with everything of the same key behind it; other keys flow past.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from evermq.adapters.log.cursor_file import Change
from evermq.adapters.log.outstanding import Outstanding

__all__ = ["OUT", "LaneCursor", "Park", "ranges_of", "with_keys"]

OUT = -1  # in place of a due time: handed out with this attempt

_STRETCH = 1_000

KeysOf = Callable[[list[int]], Sequence[bytes | None]]


@dataclass(slots=True)
class Park:
    """Messages of one key that wait for their time, in order."""

    due_ms: int
    offsets: list[int]


@dataclass(slots=True)
class LaneCursor:
    """`next`: first offset that was never looked at. `out`: handed out and not settled. `returned`: given back,
    to be handed out first, in order. `seen`: what is open below it was handed out once by an earlier owner.
    `attempts`: number of the next handing out where it is not the first, below `seen` the second. `keys`: of what was
    looked at for a release and is not settled, so that the next release need not read it again."""

    group: int
    lane: int
    next: int = 0
    seen: int = 0
    holder: object | None = None
    out: Outstanding = field(default_factory=Outstanding)
    returned: list[int] = field(default_factory=list)
    parks: dict[bytes | int, Park] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    keys: dict[int, bytes | None] = field(default_factory=dict)

    @property
    def unsettled(self) -> int:
        """How many offsets below `next` are not settled."""
        return len(self.out) + len(self.returned) + sum(len(park.offsets) for park in self.parks.values())

    def unsettled_in(self, first: int, end: int) -> int:
        """How many offsets from `first` up to `end` are not settled, those that were never looked at included."""
        return sum(first <= offset < end for offset in self._open()) + max(0, end - max(first, self.next))

    @property
    def low(self) -> int:
        """Everything below is settled."""
        return min(self._open(), default=self.next)

    def _open(self) -> Iterator[int]:
        yield from self.out
        yield from self.returned
        for park in self.parks.values():
            yield from park.offsets

    def attempt(self, offset: int) -> int:
        return self.attempts.get(offset, 2 if offset < self.seen else 1)

    def due_ms(self) -> int | None:
        """When the next parked message may go."""
        return min((park.due_ms for park in self.parks.values()), default=None)

    def again(self, count_max: int, now_ms: int) -> list[int]:
        """What `take_again` would hand out."""
        self._unpark(now_ms)
        return self.returned[:count_max]

    def take_again(self, count_max: int, now_ms: int) -> tuple[list[int], Change | None]:
        """Hand out up to `count_max` of what was given back or has become due."""
        if not self.returned and not self.parks:
            return [], None
        self._unpark(now_ms)
        taken, self.returned = self.returned[:count_max], self.returned[count_max:]
        self.out.update(taken)
        change = Change(self.group, self.lane, parked=[(o, self.attempt(o), OUT) for o in taken])
        return taken, change if taken else None

    def _unpark(self, now_ms: int) -> None:
        """All that is due is given back, in the order of the lane: by key, one frame would be read for each message."""
        if due := [key for key, park in self.parks.items() if park.due_ms <= now_ms]:
            back = chain.from_iterable(self.parks.pop(key).offsets for key in due)
            self.returned = sorted((*self.returned, *back))

    def take_new(self, offsets: Iterable[range], next_offset: int) -> Change:
        """Hand out offsets that were never looked at."""
        for each in offsets:
            self.out.add_run(each)
        self.next = next_offset
        return Change(self.group, self.lane, next=next_offset)

    def hold_back(self, rows: list[tuple[int, bytes | None]]) -> tuple[list[int], Change]:
        """Of new (offset, key) pairs, put those behind their parked key; returns which, to be left out."""
        waiting: list[int] = []
        parked = []
        for offset, key in rows:
            park = self.parks.get(key) if key is not None else None
            if park:
                park.offsets.append(offset)
                waiting.append(offset)
                parked.append((offset, 0, park.due_ms))
        if waiting:
            self.out.take(waiting)
        return waiting, Change(self.group, self.lane, parked=parked)

    def settle(self, offsets: Iterable[int]) -> Change | None:
        """Done with these; what is not out is ignored."""
        mine = self.out.take(offsets)
        if not mine:
            return None
        if self.attempts:
            for offset in mine:
                self.attempts.pop(offset, None)
        if self.keys:
            for offset in mine:
                self.keys.pop(offset, None)
        return Change(self.group, self.lane, settled=ranges_of(mine))

    def release(self, offsets: Iterable[int], due_ms: int, keys_of: KeysOf) -> Change | None:
        """Put these back until `due_ms`, and behind each what is out or returned of the same key."""
        mine = sorted({offset for offset in offsets if offset in self.out})
        if not mine:
            return None
        rows = list(self._with_keys(mine, keys_of))
        firsts = {key: offset for offset, key in reversed(rows) if key is not None}
        if firsts or any(isinstance(key, bytes) for key in self.parks):
            first, released = mine[0], set(mine)
            behind = sorted(o for o in (*self.out, *self.returned) if o > first and o not in released)
            for offset, key in self._with_keys(behind, keys_of):
                if key is not None and self._is_behind(offset, key, firsts):
                    rows.append((offset, key))
        for offset, key in rows:
            self._park(offset, key, due_ms)
        gone = {offset for offset, _ in rows}
        self.returned = [offset for offset in self.returned if offset not in gone]
        return Change(self.group, self.lane, parked=[(o, self.attempt(o), due_ms) for o, _ in rows])

    def _is_behind(self, offset: int, key: bytes, firsts: Mapping[bytes, int]) -> bool:
        park = self.parks.get(key)
        return offset > firsts.get(key, offset) or (park is not None and offset > park.offsets[0])

    def _with_keys(self, offsets: list[int], keys_of: KeysOf) -> Iterator[tuple[int, bytes | None]]:
        keys = self.keys
        keys.update(with_keys([offset for offset in offsets if offset not in keys], keys_of))
        return ((offset, keys[offset]) for offset in offsets)

    def _park(self, offset: int, key: bytes | None, due_ms: int) -> None:
        if self.out.take((offset,)):
            self.attempts[offset] = self.attempt(offset) + 1
        park = self.parks.setdefault(offset if key is None else key, Park(due_ms, []))
        park.due_ms = max(park.due_ms, due_ms)
        insort(park.offsets, offset)

    def give_back(self) -> Change | None:
        """The holder went: everything that is out comes again at once."""
        if not self.out:
            return None
        for offset in self.out:
            self.attempts[offset] = self.attempt(offset) + 1
        back = sorted(self.out)
        self.returned = sorted((*self.returned, *back))
        self.out.clear()
        return Change(self.group, self.lane, parked=self._put_back(back))

    def snapshot(self) -> Change:
        """The whole state as one change."""
        bounds = [*sorted(self._open()), self.next]
        settled = [(open_ + 1, following) for open_, following in pairwise(bounds) if following > open_ + 1]
        parked = [(o, self.attempt(o), park.due_ms) for park in self.parks.values() for o in park.offsets]
        parked += self._put_back(self.returned)
        parked += [(o, self.attempt(o), OUT) for o in self.out if self.attempt(o) > 1]
        return Change(self.group, self.lane, self.next, settled, parked, bounds[0])

    def _put_back(self, offsets: Iterable[int]) -> list[tuple[int, int, int]]:
        """What must be written down of these: handed out once and still open is what everything is taken for."""
        return [(offset, attempt, 0) for offset in offsets if (attempt := self.attempt(offset)) != 2]


def with_keys(offsets: list[int], keys_of: KeysOf) -> Iterator[tuple[int, bytes | None]]:
    """Offsets with their keys, a stretch at a time: there may be a million, and each is a message to be read."""
    for at in range(0, len(offsets), _STRETCH):
        stretch = offsets[at : at + _STRETCH]
        yield from zip(stretch, keys_of(stretch), strict=True)


def ranges_of(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted (first, stop) pairs that cover exactly these numbers."""
    if isinstance(offsets, range):
        return [(offsets.start, offsets.stop)] if offsets else []
    numbers = sorted(offsets)
    if numbers and numbers[-1] - numbers[0] == len(numbers) - 1:
        return [(numbers[0], numbers[-1] + 1)]
    ranges: list[tuple[int, int]] = []
    first = last = numbers[0] if numbers else 0
    for number in numbers[1:]:
        if number != last + 1:
            ranges.append((first, last + 1))
            first = number
        last = number
    return [*ranges, (first, last + 1)] if numbers else []
