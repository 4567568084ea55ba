"""What waits in a lane, found by what it is and by what it waits for: a lane may hold thousands for long."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile

from evermq.numbers import BEHIND_ALL, VOID, Number
from evermq.port import Delivery
from evermq.settling import Held

__all__ = ["Parked", "Waiting"]

_Place = tuple[str, int]  # a stream, and a number in it
_OVERHEAD_BYTES = 1_000  # of a message that waits, beside its body, about


@dataclass(slots=True, eq=False)
class Parked:
    """A delivery that waits. attempt: what the engine counted when it first came here. turn: among what waits."""

    delivery: Delivery
    number: Number
    since_ms: int
    attempt: int = 1
    turn: int = -1

    def is_again(self, other: Parked) -> bool:
        """Whether it is the very entry of its rung that another one of its number was, and not a copy. What has no
        place is known by its receipt; it may then be the same entry all the same."""
        position = self.delivery.position
        if position != other.delivery.position:
            return False
        return position.offset is not None or _innermost(self.delivery) == _innermost(other.delivery)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.delivery.message.body) + _OVERHEAD_BYTES

    @property
    def place(self) -> _Place:
        return self.number.stream, self.number.seq

    @property
    def awaits(self) -> _Place:
        """What it waits for, unless it waits for all."""
        return self.number.stream, self.number.prev

    @property
    def is_behind_all(self) -> bool:
        """Whether it waits for all numbers before it, and not for one of them."""
        return self.delivery.message.headers.get(VOID) == BEHIND_ALL


def _innermost(delivery: Delivery) -> object:
    """The receipt that the rung itself gave: a reader of several wraps it with its child's delivery."""
    receipt: object = delivery.receipt
    while isinstance(receipt, tuple) and receipt and isinstance(receipt[-1], Delivery):
        receipt = receipt[-1].receipt
    return receipt


class Waiting:
    """Of a number there is one copy from each rung. Iterated, it is in the order in which it came, but for what took
    the place of an earlier copy."""

    __slots__ = ("_behind", "_behind_all", "_held", "_places", "_rows", "_turn", "size_bytes")

    def __init__(self) -> None:
        self._rows: dict[int, Parked] = {}
        self._places: dict[_Place, list[Parked]] = {}
        self._behind: dict[_Place, list[Parked]] = {}  # by what it waits for
        self._behind_all: dict[str, list[Parked]] = {}  # by stream
        self._held: list[Held] | None = None
        self._turn = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Parked]:
        return iter(self._rows.values())

    def __contains__(self, parked: Parked) -> bool:
        return self._rows.get(parked.turn) is parked

    def add(self, parked: Parked) -> None:
        """It comes last."""
        parked.turn = self._turn
        self._turn += 1
        self._rows[parked.turn] = parked
        self._places.setdefault(parked.place, []).append(parked)
        self._waiters(parked).append(parked)
        self.size_bytes += parked.size_bytes
        self._held = None

    def remove(self, parked: Parked) -> None:
        """It waits no longer."""
        del self._rows[parked.turn]
        self.size_bytes -= parked.size_bytes
        copies, waiters = self._places[parked.place], self._waiters(parked)
        copies.remove(parked)
        waiters.remove(parked)
        if not copies:
            del self._places[parked.place]
        if not waiters and parked.is_behind_all:
            del self._behind_all[parked.number.stream]
        elif not waiters:
            del self._behind[parked.awaits]
        self._held = None

    def take(self, stream: str, numbers: Iterable[int]) -> list[Delivery]:
        """All copies of these, which wait no longer."""
        copies = [copy for seq in numbers for copy in self.of((stream, seq))]
        for copy in copies:
            self.remove(copy)
        return [copy.delivery for copy in copies]

    def renew(self, parked: Parked) -> Delivery | None:
        """What `find` finds came once more. A delivery that comes again takes the place of the earlier one, whose
        receipt is void. Where a rung tells no places, so does what may be a copy; returns what nobody has to see."""
        other = self.find(parked)
        assert other is not None
        is_again = parked.is_again(other)
        if not is_again and parked.delivery.position.offset is not None:
            return parked.delivery
        parked.since_ms, parked.attempt = other.since_ms, other.attempt
        self._replace(other, parked)
        return None if is_again else other.delivery

    def _replace(self, other: Parked, parked: Parked) -> None:
        self.remove(other)
        self.add(parked)
        del self._rows[parked.turn]
        parked.turn = other.turn
        self._rows[parked.turn] = parked

    def find(self, parked: Parked) -> Parked | None:
        """The one of the same number and from the same rung."""
        via = parked.delivery.position.via
        return next((each for each in self.of(parked.place) if each.delivery.position.via == via), None)

    def of(self, place: _Place) -> Collection[Parked]:
        """The copies of a number."""
        return self._places.get(place, ())

    def behind(self, place: _Place) -> list[Parked]:
        """What may move once something became of this number: its copies, and what waits for it alone."""
        return [*self.of(place), *self._behind.get(place, ())]

    def behind_all(self, streams: Iterable[str]) -> list[Parked]:
        """What waits for all that is before it in these streams, the first of each first."""
        found = [parked for stream in streams for parked in self._behind_all.get(stream, ())]
        return sorted(found, key=lambda parked: parked.number.seq)

    def beyond(self, count: int) -> list[Parked]:
        """All but the first `count`."""
        return sorted(self, key=lambda parked: parked.turn)[count:]

    def count_within(self, bytes_max: int) -> int:
        """How many of the first take no more than this."""
        sizes = accumulate(parked.size_bytes for parked in self.beyond(0))
        return sum(1 for _ in takewhile(lambda size: size <= bytes_max, sizes))

    def held(self) -> list[Held]:
        """As a reader tells the others of it: runs of numbers, by stream and rung."""
        if self._held is None:
            self._held = _runs(self)
        return self._held

    def _waiters(self, parked: Parked) -> list[Parked]:
        """Those that wait for the same."""
        if parked.is_behind_all:
            return self._behind_all.setdefault(parked.number.stream, [])
        return self._behind.setdefault(parked.awaits, [])


def _runs(rows: Iterable[Parked]) -> list[Held]:
    by_rung: dict[tuple[str, tuple[str, ...]], dict[int, int]] = {}
    for parked in rows:
        stream, seq, _, opened, _ = parked.number
        by_rung.setdefault((stream, parked.delivery.position.via), {})[seq] = opened
    found = []
    for (stream, via), numbers in by_rung.items():
        first = last = -1
        rung = "/".join(via)
        for seq in sorted(numbers):
            if seq != last + 1 and last >= 0:
                found.append(Held(stream, first, numbers[last], rung, last))
            first, last = (first if seq == last + 1 and last >= 0 else seq), seq
        found.append(Held(stream, first, numbers[last], rung, last))
    return found
