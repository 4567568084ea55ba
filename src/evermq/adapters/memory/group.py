"""What one group has done: pure state, no clock."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from evermq.adapters.memory.lane import Lane

__all__ = ["Group", "Member", "Park", "Progress"]


class Member(Protocol):
    """What a group needs to know of its readers."""

    @property
    def is_waiting(self) -> bool: ...
    def wake(self) -> None: ...


@dataclass(slots=True)
class Park:
    """Messages of one key that wait for their time, in order."""

    due_ms: int
    offsets: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Progress:
    """A group in one lane; every offset not settled is in exactly one of `ready` (a heap), `out` and `parks`."""

    lane: Lane
    holder: Member | None = None
    ready: list[int] = field(default_factory=list)
    out: set[int] = field(default_factory=set)
    parks: dict[bytes | int, Park] = field(default_factory=dict)
    handed: dict[int, int] = field(default_factory=dict)  # how often, of what is not settled

    @property
    def unsettled(self) -> int:
        """How many messages the group has still to settle here."""
        return len(self.ready) + len(self.out) + sum(len(park.offsets) for park in self.parks.values())

    def take(self, count_max: int, now_ms: int) -> list[int]:
        """Hand out, lowest offsets first; what stands behind a parked message of its key goes to it instead."""
        self._unpark(now_ms)
        taken: list[int] = []
        while self.ready and len(taken) < count_max:
            offset = heappop(self.ready)
            park = self.parks.get(self._key(offset))
            if park and offset > park.offsets[0]:
                insort(park.offsets, offset)
            else:
                taken.append(offset)
        self.out.update(taken)
        for offset in taken:
            self.handed[offset] = self.handed.get(offset, 0) + 1
        return taken

    def settle(self, offsets: Iterable[int]) -> None:
        """Done with these; what is not out is ignored."""
        for offset in self.out.intersection(offsets):
            self.out.discard(offset)
            del self.handed[offset]
            self.lane.settle(offset)

    def release(self, offsets: Iterable[int], due_ms: int) -> None:
        """Put these back until `due_ms`, and with each what is out of the same key behind it."""
        firsts: dict[bytes | int, int] = {}
        for offset in sorted(self.out.intersection(offsets)):
            firsts.setdefault(self._key(offset), offset)
        for offset in sorted(self.out) if firsts else ():
            key = self._key(offset)
            if key in firsts and offset >= firsts[key]:
                self._park(key, offset, due_ms)

    def give_back(self) -> None:
        """The holder went: what is out comes again at once."""
        for offset in self.out:
            heappush(self.ready, offset)
        self.out.clear()
        self.holder = None

    def due_ms(self) -> int | None:
        """When the next parked message may go."""
        return min((park.due_ms for park in self.parks.values()), default=None)

    def _park(self, key: bytes | int, offset: int, due_ms: int) -> None:
        self.out.discard(offset)
        park = self.parks.setdefault(key, Park(due_ms))
        park.due_ms = max(park.due_ms, due_ms)
        insort(park.offsets, offset)

    def _unpark(self, now_ms: int) -> None:
        for key, park in list(self.parks.items()):
            if park.due_ms <= now_ms:
                for offset in park.offsets:
                    heappush(self.ready, offset)
                del self.parks[key]

    def _key(self, offset: int) -> bytes | int:
        key = self.lane.stored[offset].message.key
        return offset if key is None else key


@dataclass(slots=True)
class Group:
    """`readers`: those that are open, with the lanes each holds in the order in which it took them."""

    name: str
    lanes: list[Progress]
    readers: dict[Member, list[int]] = field(default_factory=dict)

    def take(self, reader: Member, lane: int, count_max: int, now_ms: int) -> list[tuple[int, int]]:
        """Offsets and attempts of what the reader may have of a lane."""
        if not self._may_read(reader, lane):
            return []
        progress = self.lanes[lane]
        taken = progress.take(count_max, now_ms)
        if taken and progress.holder is None:
            progress.holder = reader
            self.readers[reader].append(lane)
        return [(offset, progress.handed[offset]) for offset in taken]

    def settle(self, reader: Member, lane: int, offsets: Iterable[int]) -> None:
        """Done with these, where the reader holds the lane."""
        if self.lanes[lane].holder is reader:
            self.lanes[lane].settle(offsets)
            self._free(reader, lane)

    def release(self, reader: Member, lane: int, offsets: Iterable[int], due_ms: int) -> None:
        """Put these back, where the reader holds the lane."""
        if self.lanes[lane].holder is reader:
            self.lanes[lane].release(offsets, due_ms)
            self._free(reader, lane)
            self.wake()

    def end(self) -> None:
        """The group is no more: as if it had settled everything."""
        for progress in self.lanes:
            parked = [offset for park in progress.parks.values() for offset in park.offsets]
            for offset in (*progress.ready, *progress.out, *parked):
                progress.lane.settle(offset)

    def leave(self, reader: Member) -> None:
        """A reader goes; what it holds comes again."""
        for lane in self.readers.pop(reader, []):
            self.lanes[lane].give_back()
        self.wake()

    def wake(self) -> None:
        """Let every reader look again."""
        for reader in self.readers:
            reader.wake()

    def due_ms(self) -> int | None:
        """When the next parked message of any lane may go."""
        return min((due for lane in self.lanes if (due := lane.due_ms()) is not None), default=None)

    def _free(self, reader: Member, lane: int) -> None:
        if not self.lanes[lane].out:
            self.lanes[lane].holder = None
            self.readers[reader].remove(lane)
            self.wake()

    def _may_read(self, reader: Member, lane: int) -> bool:
        """A lane belongs to its holder; beyond a fair share only while no other reader goes hungry."""
        holder, held = self.lanes[lane].holder, self.readers[reader]
        if holder is not None and holder is not reader:
            return False
        share = -(-len(self.lanes) // len(self.readers))
        rank = held.index(lane) if lane in held else len(held)
        return rank < share or not any(self._is_hungry(other, share) for other in self.readers if other is not reader)

    def _is_hungry(self, reader: Member, share: int) -> bool:
        return reader.is_waiting and len(self.readers[reader]) < share
