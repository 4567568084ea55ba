"""What one group has done in one lane: pure state, no clock, no network.

The reader that leases the lane holds it; it is written to Redis as a whole, behind the check that the lease is still
the reader's own. What a reader releases comes again in order with everything of the same key behind it; other keys
flow past.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from evermq.errors import Damaged

__all__ = ["LaneWindow", "Mark", "Park"]

_OUT = -1  # in place of a due time: handed out and not settled
_pack = msgspec.msgpack.Encoder().encode
Key = bytes | None


class Mark(NamedTuple):
    """An entry: its number in the lane, the offset of its first message, how many it holds."""

    entry: int
    base: int
    size: int


@dataclass(slots=True)
class Park:
    """Messages of one key that wait for their time, in order."""

    due_ms: int
    offsets: list[int]


class _Open(NamedTuple):
    offset: int
    key: Key
    attempt: int
    due_ms: int


class _Blob(NamedTuple):
    marks: list[Mark]
    opened: list[_Open]


_unpack = msgspec.msgpack.Decoder(_Blob).decode


@dataclass(slots=True)
class LaneWindow:
    """next: the first offset never handed out. entry, base: the entry that holds it, and that entry's first offset.
    out: handed out and not settled, with keys. returned: given back, to be handed out first, with keys.
    handed: below it a reader that died may have handed out what is not below `next`.
    """

    next: int
    entry: int
    base: int
    handed: int = 0
    out: dict[int, Key] = field(default_factory=dict)
    returned: dict[int, Key] = field(default_factory=dict)
    parks: dict[bytes | int, Park] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)  # of the next or last handing out where it is not the first
    marks: list[Mark] = field(default_factory=list)  # entries that hold what is below `next` and not settled

    @classmethod
    def load(cls, stands: bytes, blob: bytes, handed: bytes, *, crashed: bool) -> LaneWindow:
        """As it was saved. crashed: whoever held the lane is gone without a word. Raises Damaged."""
        try:
            offset, entry, base = map(int, stands.split(b","))
            made = cls(offset, entry, base, int(handed))
            if blob:
                made._open(_unpack(blob))
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            raise Damaged(f"the state of a lane cannot be understood: {error}") from error
        if crashed:
            made.give_back()
        return made

    def _open(self, blob: _Blob) -> None:
        self.marks = blob.marks
        for offset, key, attempt, due_ms in blob.opened:
            if attempt != 1:
                self.attempts[offset] = attempt
            if due_ms == _OUT:
                self.out[offset] = key
            elif due_ms == 0:
                self.returned[offset] = key
            else:
                self.parks.setdefault(offset if key is None else key, Park(due_ms, [])).offsets.append(offset)

    def blob(self) -> bytes:
        """What is not settled below `next`; empty if there is nothing."""
        opened = [_Open(o, key, self.attempt(o), _OUT) for o, key in self.out.items()]
        opened += [_Open(o, key, self.attempt(o), 0) for o, key in self.returned.items()]
        for key, park in self.parks.items():
            name = key if isinstance(key, bytes) else None
            opened += [_Open(o, name, self.attempt(o), max(1, park.due_ms)) for o in park.offsets]
        if not opened:
            return b""
        self._prune()
        return _pack(_Blob(self.marks, sorted(opened)))

    @property
    def open_count(self) -> int:
        """How many below `next` are not settled."""
        return len(self.out) + len(self.returned) + sum(len(park.offsets) for park in self.parks.values())

    @property
    def again_ms(self) -> int | None:
        """When something is to be handed out again; 0 for now, None for never."""
        return 0 if self.returned else min((park.due_ms for park in self.parks.values()), default=None)

    def low(self) -> tuple[int, int]:
        """The first entry that is still needed, and its first offset."""
        if not self.open_count:
            return self.entry, self.base
        mark = self.mark_of(self._lowest())
        return mark.entry, mark.base

    def _lowest(self) -> int:
        parked = (park.offsets[0] for park in self.parks.values())
        return min((*self.out, *self.returned, *parked))

    def mark_of(self, offset: int) -> Mark:
        """The entry that holds an offset below `next`."""
        return self.marks[bisect_right(self.marks, offset, key=lambda mark: mark.base) - 1]

    def attempt(self, offset: int) -> int:
        return self.attempts.get(offset, 1)

    def take_new(self, marks: Sequence[Mark], keys: Sequence[Key], stop: int) -> list[int]:
        """Hand out from `next` up to `stop`; returns the offsets without those that wait behind a parked one.

        marks: the entries, from `entry` on. keys: of the messages from `next` to `stop`.
        """
        fresh = range(self.next, stop)
        for offset in range(self.next, min(stop, self.handed)):
            self.attempts[offset] = 2
        if self.parks:
            rows = [(o, k) for o, k in zip(fresh, keys, strict=True) if not self._waits(o, k)]
            taken = [offset for offset, _ in rows]
            self.out.update(rows)
        else:
            taken = list(fresh)
            self.out.update(zip(fresh, keys, strict=True))
        if self.marks and marks and self.marks[-1].entry == marks[0].entry:
            self.marks.pop()
        self.marks += marks
        last = marks[-1]
        self.next = stop
        whole = stop == last.base + last.size
        self.entry, self.base = (last.entry + 1, stop) if whole else (last.entry, last.base)
        return taken

    def _waits(self, offset: int, key: Key) -> bool:
        park = self.parks.get(key) if key is not None else None
        if park:
            park.offsets.append(offset)
        return bool(park)

    def take_again(self, count_max: int, now_ms: int) -> list[int]:
        """Hand out again what was given back or has become due, in order."""
        for key, park in list(self.parks.items()):
            if park.due_ms <= now_ms:
                self.returned.update((o, key if isinstance(key, bytes) else None) for o in park.offsets)
                del self.parks[key]
        taken = sorted(self.returned)[:count_max]
        self.out.update((offset, self.returned.pop(offset)) for offset in taken)
        return taken

    def settle(self, offsets: Iterable[int]) -> None:
        """Done with these; what is not out is ignored."""
        done = set(offsets)
        if self.attempts:
            for offset in done & self.out.keys():
                self.attempts.pop(offset, None)
        if self.out.keys() <= done:
            self.out.clear()
        else:
            for offset in done:
                self.out.pop(offset, None)
        if not self.open_count:
            self.marks.clear()

    def release(self, offsets: Iterable[int], due_ms: int) -> None:
        """Put these back until `due_ms`, and behind each what is out or given back of the same key."""
        mine = sorted(self.out.keys() & set(offsets))
        if not mine:
            return
        firsts: dict[bytes | int, int] = {}
        for offset in mine:
            key = self.out[offset]
            firsts.setdefault(offset if key is None else key, offset)
        known = {**self.out, **self.returned}
        for offset in sorted(known):
            key = known[offset]
            name = offset if key is None else key
            if name in firsts and offset >= firsts[name]:
                self._park(name, offset, due_ms)

    def _park(self, name: bytes | int, offset: int, due_ms: int) -> None:
        if offset in self.out:
            del self.out[offset]
            self.attempts[offset] = self.attempt(offset) + 1
        else:
            del self.returned[offset]
        park = self.parks.setdefault(name, Park(due_ms, []))
        park.due_ms = max(park.due_ms, due_ms)
        park.offsets.append(offset)
        park.offsets.sort()

    def give_back(self, unseen: Iterable[int] = ()) -> None:
        """The holder goes: what is out comes again at once. unseen: of these nobody was handed any."""
        spared = set(unseen)
        for offset in self.out:
            if offset not in spared:
                self.attempts[offset] = self.attempt(offset) + 1
        self.returned.update(self.out)
        self.out.clear()

    def put_back(self, offsets: Iterable[int]) -> None:
        """These were taken and reached nobody."""
        self.returned.update((offset, self.out.pop(offset)) for offset in offsets if offset in self.out)

    def _prune(self) -> None:
        """Forget the entries in which everything is settled."""
        if len(self.marks) > 64 and len(self.marks) > self.open_count:
            wanted = [*self.out, *self.returned, *(o for park in self.parks.values() for o in park.offsets)]
            self.marks = sorted({self.mark_of(offset) for offset in wanted})
