"""Cursors from their file: replaying changes, whatever is missing among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import repeat

from evermq.adapters.log.cursor_file import Change
from evermq.adapters.log.lane_cursor import OUT, KeysOf, LaneCursor, Park, with_keys

__all__ = ["Replay", "replay"]


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
