"""What groups have done and what was delayed, from what a directory holds: replaying changes, whatever is missing among
them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Protocol

from evermq.adapters.log.catalog import Catalog
from evermq.adapters.log.cursor_file import Change, CursorFile
from evermq.adapters.log.group import Group
from evermq.adapters.log.journal import Journal
from evermq.adapters.log.lane_cursor import OUT, KeysOf, LaneCursor, Park, with_keys
from evermq.adapters.log.load import DELAY_LANE, DUE_LANE
from evermq.adapters.log.reading import Reading
from evermq.adapters.log.topic import Topic

__all__ = ["Remains", "Replay", "replay", "restore"]


class Remains(Protocol):
    """What is there of the last owner; the topics know nothing yet of their groups and delayed messages."""

    catalog: Catalog
    journal: Journal
    reading: Reading
    cursor_file: CursorFile
    topics_by_number: dict[int, Topic]


@dataclass(slots=True)
class Replay:
    """One lane of one group while its changes are replayed."""

    next: int
    open: set[int] = field(default_factory=set)
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)  # offset -> next attempt, due_ms

    def apply(self, change: Change) -> None:
        if change.low >= 0:
            self._begin(change)
        else:
            self._reach(change.next)
            for first, stop in change.settled:
                self._reach(stop)
                self.open.difference_update(range(first, stop))
        for offset, attempt, due_ms in change.parked:
            self._reach(offset + 1)
            self.waiting[offset] = (attempt, due_ms)

    def _begin(self, change: Change) -> None:
        """A whole state: only what is open costs memory, not what was settled beyond it."""
        self.waiting.clear()
        self.open = set()
        at = change.low
        for first, stop in change.settled:
            self.open.update(range(at, first))
            at = stop
        self.open.update(range(at, change.next))
        self.next = change.next

    def _reach(self, offset: int) -> None:
        if offset > self.next:
            self.open.update(range(self.next, offset))
            self.next = offset

    def cursor(self, group: int, lane: int, start: int, keys_of: KeysOf) -> LaneCursor:
        """The cursor as the next owner begins with it; below `start` nothing is stored any more."""
        state = LaneCursor(group, lane, max(self.next, start), self.next)
        unsettled = sorted(offset for offset in self.open if offset >= start)
        waits = any(due_ms > 0 for _, due_ms in self.waiting.values())
        for offset, key in with_keys(unsettled, keys_of) if waits else zip(unsettled, repeat(None), strict=False):
            attempt, due_ms = self.waiting.get(offset, (1, OUT))
            # Handed out, and its process is gone: a message that kills its handler must be seen to.
            next_attempt = attempt + 1 if due_ms == OUT else max(1, attempt)
            if next_attempt != 2:
                state.attempts[offset] = next_attempt
            park = state.parks.get(key) if key is not None else None
            if due_ms > 0 and park is None:
                park = state.parks[offset if key is None else key] = Park(due_ms, [])
            if park:  # or behind one of its key that waits, whatever the file says of itself
                park.due_ms = max(park.due_ms, due_ms)
                park.offsets.append(offset)
            else:
                state.returned.append(offset)
        return state


def replay(changes: Iterable[Change], starts: dict[int, list[int]]) -> dict[tuple[int, int], Replay]:
    """The lanes of all groups; `starts`: group -> the offset it began at in each lane."""
    lanes = {(g, i): Replay(start) for g, offsets in starts.items() for i, start in enumerate(offsets)}
    for change in changes:
        lane = lanes.get((change.group, change.lane))
        if lane:
            lane.apply(change)
    return lanes


def restore(place: Remains) -> None:
    """Let the topics know what their groups have done and what waits for its time, and the journal which topics there
    are. OSError where that cannot be read."""
    _restore_groups(place)
    _restore_delays(place)
    place.journal.is_live = place.topics_by_number.__contains__
    place.journal.state.index.keep(place.journal.is_live)


def _restore_groups(place: Remains) -> None:
    index = place.journal.state.index
    groups = {record.number: record for record in place.catalog.groups}
    for topic_number, _ in index.lanes:
        place.catalog.reach(topic_number)
    lanes = replay(_reach_groups(place), {number: record.starts for number, record in groups.items()})
    for record in groups.values():
        topic = place.topics_by_number[record.topic]
        group = topic.groups[record.name] = Group(record.number, record.name, topic.number, [], place.reading)
        for lane in range(topic.record_.lanes):
            progress = lanes[record.number, lane]
            # A tail that was never synced may be gone although it was read: its offsets are not used again.
            index.reach(topic.number, lane, progress.next)
            keys_of = partial(group.keys, lane)
            group.cursors.append(progress.cursor(record.number, lane, topic.start(lane), keys_of))


def _reach_groups(place: Remains) -> Iterator[Change]:
    for change in place.cursor_file.load():
        place.catalog.reach(change.group)
        yield change


def _restore_delays(place: Remains) -> None:
    index = place.journal.state.index
    for number, topic in place.topics_by_number.items():
        if {(number, DELAY_LANE), (number, DUE_LANE)} & index.lanes.keys():
            end = topic.delays.load(index.lane(number, DELAY_LANE).start, index.lane(number, DUE_LANE).start)
            # What was moved may have been lost where it had waited: whatever got its offset would count as moved.
            index.reach(number, DELAY_LANE, end)
