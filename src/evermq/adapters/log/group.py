"""One group of a topic: its lane cursors, and which reader may read what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from evermq.adapters.log.cursor_file import Change
from evermq.adapters.log.gaps import Gap, gaps_in
from evermq.adapters.log.index import Location
from evermq.adapters.log.lane_cursor import LaneCursor, ranges_of
from evermq.adapters.log.reading import LaneScan, Reading
from evermq.message import Message

__all__ = ["Group", "Handed", "Member"]

_WINDOW_BYTES = 1 << 20  # of the log, for one lane at a time: the next lanes find the same stretch in the cache
_UNSETTLED_MAX = 1_000_000  # of all lanes: beyond their shares nothing new is handed out until something is settled
_UNSETTLED_OF_A_LANE = 100_000

_FIRST = Location(0, 0)

# Messages, offsets, attempts (None: all the first), and how many bytes that is, about.
Handed = tuple[list[Message], Sequence[int], list[int] | None, int]


class Member(Protocol):
    """What a group needs to know of its readers."""

    @property
    def is_waiting(self) -> bool: ...
    def wake(self) -> None: ...


@dataclass(slots=True)
class Group:
    """`readers`: those that are open, with the lanes each holds in the order it took them. `passed`: what nobody was
    told of yet."""

    number: int
    name: str
    topic: int
    cursors: list[LaneCursor]
    reading: Reading
    readers: dict[Member, dict[int, None]] = field(default_factory=dict)
    scans: dict[int, LaneScan] = field(default_factory=dict)
    passed: list[Gap] = field(default_factory=list)

    def may_read(self, reader: Member, lane: int) -> bool:
        """A lane belongs to its holder; more than a fair share only while no other reader goes hungry."""
        cursor = self.cursors[lane]
        held = self.readers[reader]
        if cursor.holder is not None and cursor.holder is not reader:
            return False
        share = self._share()
        rank = list(held).index(lane) if lane in held else len(held)
        return rank < share or not self.is_anyone_hungry_beside(reader)

    def _share(self) -> int:
        return -(-len(self.cursors) // len(self.readers))

    def is_anyone_hungry_beside(self, reader: Member) -> bool:
        """Whether another reader waits and holds less than its fair share."""
        if len(self.readers) < 2:
            return False
        share = self._share()
        return any(
            other.is_waiting and len(held) < share for other, held in self.readers.items() if other is not reader
        )

    def candidates(self, ends: Sequence[int]) -> list[int]:
        """The lanes that have something: what comes again, then the oldest first, so that readers
        go through the log once and in its order. ends: the next offset of each lane."""
        found = []
        for cursor, end in zip(self.cursors, ends, strict=True):
            if cursor.returned or cursor.parks:
                found.append((_FIRST, cursor.lane))
            elif cursor.next < end:
                found.append((self.scan(cursor.lane).place(cursor.next) or _FIRST, cursor.lane))
        return [lane for _, lane in sorted(found)]

    def take(self, reader: Member, lane: int, count_max: int, end: int, now_ms: int) -> tuple[Handed, list[Change]]:
        """Hand out what the reader may have of a lane: first what comes again, then what is new."""
        cursor = self.cursors[lane]
        wanted = cursor.again(count_max, now_ms) if cursor.returned or cursor.parks else []
        changes: list[Change] = []
        messages: list[Message] = []
        attempts: list[int] | None = None
        offsets: Sequence[int] = []
        taken = size = 0
        if wanted:
            found, taken, size = self.find(lane, wanted, _WINDOW_BYTES)
            again, change = cursor.take_again(taken, now_ms)
            changes += [change] if change else []
            offsets = [offset for offset in again if offset in found]
            messages = [found[offset] for offset in offsets]
            attempts = [cursor.attempt(offset) for offset in offsets]
            gone = set(again) - found.keys()
            if gone and (change := cursor.settle(gone)):
                changes.append(change)  # damaged, or never synced: there is nothing to wait for
                self.passed += [Gap(lane, range(*each)) for each in ranges_of(gone)]
        is_all = taken == len(wanted) and not cursor.returned
        if is_all and taken < count_max and cursor.next < end and self._has_room(cursor):
            fresh, numbers = self._take_new(cursor, count_max - taken, end, changes)
            size += self.scan(lane).size_bytes
            messages, offsets = (messages + fresh, [*offsets, *numbers]) if offsets else (fresh, numbers)
            if attempts is not None:
                attempts += [1] * len(fresh)
        if offsets:
            cursor.holder = reader
            self.readers[reader][lane] = None
        return (messages, offsets, attempts, size), changes

    def _has_room(self, cursor: LaneCursor) -> bool:
        return cursor.unsettled < max(_UNSETTLED_MAX // len(self.cursors), _UNSETTLED_OF_A_LANE)

    def _take_new(
        self, cursor: LaneCursor, count_max: int, end: int, changes: list[Change]
    ) -> tuple[list[Message], Sequence[int]]:
        messages, ranges, next_offset = self.scan(cursor.lane).fetch(cursor.next, count_max, _WINDOW_BYTES)
        if not messages:
            next_offset = end  # a damaged stretch: there is nothing to wait for
        first = cursor.next
        changes.append(cursor.take_new(ranges, next_offset))
        if sum(map(len, ranges)) < next_offset - first:
            gaps = list(gaps_in(cursor.lane, first, ranges, next_offset))
            self.passed += gaps
            settled = [(gap.offsets.start, gap.offsets.stop) for gap in gaps]
            changes.append(Change(self.number, cursor.lane, settled=settled))  # else the next owner looks for it again
        offsets: Sequence[int] = ranges[0] if len(ranges) == 1 else [offset for each in ranges for offset in each]
        if cursor.parks:
            rows = [(offset, message.key) for offset, message in zip(offsets, messages, strict=True)]
            waiting, change = cursor.hold_back(rows)
            if waiting:
                changes.append(change)
                left_out = set(waiting)
                messages = [m for m, offset in zip(messages, offsets, strict=True) if offset not in left_out]
                offsets = [offset for offset in offsets if offset not in left_out]
        return messages, offsets

    def take_passed(self) -> list[Gap]:
        """What was passed over since the last time."""
        passed, self.passed = self.passed, []
        return passed

    def scan(self, lane: int) -> LaneScan:
        """The group's own place in a lane."""
        scan = self.scans.get(lane)
        if scan is None:
            scan = self.scans[lane] = LaneScan(self.reading, self.topic, lane)
        return scan

    def find(self, lane: int, offsets: list[int], bytes_max: int = 0) -> tuple[dict[int, Message], int, int]:
        """The messages at these offsets, without those that are not stored any more.

        bytes_max: enough when so much was found, 0 for no limit; returns also how many offsets were looked for, and the
        size of what was found, about.
        """
        scan = LaneScan(self.reading, self.topic, lane)
        found: dict[int, Message] = {}
        at = size = 0
        while at < len(offsets) and not 0 < bytes_max <= size:
            stop = at + 1
            while stop < len(offsets) and offsets[stop] == offsets[at] + stop - at:
                stop += 1
            messages, ranges, following = scan.fetch(offsets[at], stop - at, bytes_max)
            found.update(zip(chain.from_iterable(ranges), messages, strict=True))
            size += scan.size_bytes
            at = min(stop, at + following - offsets[at]) if messages else stop
        return found, at, size

    def keys(self, lane: int, offsets: list[int]) -> list[bytes | None]:
        """The keys of the messages at these offsets, None where they are not stored any more."""
        found, _, _ = self.find(lane, offsets)
        return [found[offset].key if offset in found else None for offset in offsets]

    def drop_hold(self, lane: int) -> None:
        """Free a lane of which nothing is out any more."""
        cursor = self.cursors[lane]
        if cursor.holder is not None and not cursor.out:
            for held in self.readers.values():
                held.pop(lane, None)
            cursor.holder = None
            for reader in self.readers:
                reader.wake()

    def leave(self, reader: Member) -> list[Change]:
        """A reader goes; what it holds comes again."""
        changes = []
        for lane in list(self.readers.pop(reader, {})):
            change = self.cursors[lane].give_back()
            self.cursors[lane].holder = None
            if change:
                changes.append(change)
        for other in self.readers:
            other.wake()
        return changes
