"""What one group has done in one lane, as the process that the lane is assigned to sees it: pure, no clock, no driver.

Times are of a clock that never goes back; `ahead_ms` is what the wall clock adds to it, by which other processes go.

Every record that was fetched and is not settled is in exactly one of `fresh` (never handed out), `out` (with a
reader), `returned` (comes again at once, in order) and `parks` (comes again when it is due, and holds up its key).
Offsets that no record has, because of compaction or transactions, count as done once what is behind them was fetched.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from evermq.adapters.kafka.done import Done
from evermq.adapters.kafka.progress import METADATA_BYTES_MAX, Again, Progress, pack, untold_count
from evermq.message import Message

__all__ = ["Lane", "Park"]

Row = tuple[int, Message]


@dataclass(slots=True)
class Park:
    """Messages of one key that wait for their time, in order."""

    due_ms: int
    rows: list[Row]


@dataclass(slots=True, eq=False)
class Lane:
    """done: of all offsets from the committed one on. next: first offset that was not fetched.

    holder: the reader that has something of it. fresh_bytes: of the bodies that wait in `fresh`.
    attempts: number of the next handing out, where it is not the first.
    parked: how many messages wait in `parks`. dues: of what was parked by an earlier owner and is not fetched yet.
    plain_from: from here on no earlier owner left word. open_to: no new message from here on is handed out without
    another look at what a commit can tell. is_full: that look was in vain. bytes_max: of the metadata of a commit.
    dirty: there is something to commit.
    """

    number: int
    name: str
    done: Done
    next: int
    holder: object | None = None
    fresh: list[Row] = field(default_factory=list)
    fresh_at: int = 0
    fresh_bytes: int = 0
    out: dict[int, Message] = field(default_factory=dict)
    returned: list[Row] = field(default_factory=list)
    parks: dict[bytes | int, Park] = field(default_factory=dict)
    parked: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    dues: dict[int, int] = field(default_factory=dict)
    plain_from: int = 0
    open_to: int = 0
    is_full: bool = False
    bytes_max: int = METADATA_BYTES_MAX
    dirty: bool = False
    paused: bool = False

    @classmethod
    def restore(cls, number: int, name: str, low: int, progress: Progress, *, ahead_ms: int = 0) -> Lane:
        """As an earlier owner left it."""
        lane = cls(number, name, Done(low), low)
        for start, stop in progress.done:
            lane.done.mark_range(start, stop)
            lane.plain_from = stop
        for each in progress.again:
            for offset in range(each.start, each.stop):
                lane.attempts[offset] = each.attempt
                if each.due_ms:
                    lane.dues[offset] = each.due_ms - ahead_ms
            lane.plain_from = max(lane.plain_from, each.stop)
        return lane

    @property
    def buffered(self) -> int:
        """How many records wait here that were never handed out."""
        return len(self.fresh) - self.fresh_at

    @property
    def open_count(self) -> int:
        """How many that were taken from there are not settled."""
        return len(self.out) + len(self.returned) + self.parked

    def due_ms(self) -> int | None:
        """When the next parked message may go."""
        return min((park.due_ms for park in self.parks.values()), default=None)

    def add(self, rows: Sequence[Row]) -> None:
        """Records were fetched, in order; records below `next` are known already."""
        if rows[0][0] < self.next:
            rows = [row for row in rows if row[0] >= self.next]
            if not rows:
                return
        first, last = rows[0][0], rows[-1][0]
        if last - self.next + 1 != len(rows):
            self._mark_gaps(rows)
        self.next = last + 1
        if first >= self.plain_from:
            self._add_fresh(rows)
        else:
            self._add_known(rows)

    def reach(self, offset: int) -> None:
        """Nothing more is there below `offset`: what looked like the end ends there."""
        if offset > self.next:
            self.done.mark_range(self.next, offset)
            self.next = offset
            self.dirty = True

    def cut(self, end: int) -> None:
        """The log ends at `end` now, or may have other records from there on: of those nothing is fetched, and nothing
        done. What readers have of them is theirs no more."""
        done = Done(min(self.done.low, end))
        for start, stop in self.done.ranges():
            done.mark_range(start, min(stop, end))
        self.done, self.next = done, min(self.next, end)
        self.fresh, self.fresh_at = [row for row in self.fresh[self.fresh_at :] if row[0] < end], 0
        self.fresh_bytes = _size_of(self.fresh)
        self.out = {offset: message for offset, message in self.out.items() if offset < end}
        self.returned = [row for row in self.returned if row[0] < end]
        kept = {key: Park(park.due_ms, [row for row in park.rows if row[0] < end]) for key, park in self.parks.items()}
        self.parks = {key: park for key, park in kept.items() if park.rows}
        self.parked = sum(len(park.rows) for park in self.parks.values())
        self.attempts = {offset: attempt for offset, attempt in self.attempts.items() if offset < end}
        self.dues = {offset: due_ms for offset, due_ms in self.dues.items() if offset < end}
        self.open_to, self.is_full, self.dirty = 0, False, True

    def take(
        self, count_max: int, now_ms: int, window: int, untold_max: int | None = None
    ) -> tuple[list[Row], list[int] | None]:
        """Hand out rows, and their attempts (None: the first of each): what comes again first, then what is new.

        Of what is new only so much that no more than `window` are open, and no more than `untold_max`, as many if it is
        None, are done and no commit can tell it.
        """
        taken = self._take_again(count_max, now_ms) if self.returned or self.parks else []
        self.out.update(taken)
        room = min(count_max - len(taken), window - self.open_count)
        if self.fresh_at < len(self.fresh) and room > 0 and not (self.returned or self.is_full):
            fresh = self._take_fresh(room, window if untold_max is None else untold_max)
            self.out.update(fresh)
            taken += fresh
        if not self.attempts:
            return taken, None
        return taken, [self.attempts.get(offset, 1) for offset, _ in taken]

    def untake(self, rows: Sequence[Row]) -> None:
        """These were never handed out after all."""
        for offset, _ in rows:
            self.out.pop(offset, None)
        self.returned = sorted((*rows, *self.returned))

    def settle(self, offsets: Sequence[int]) -> int:
        """Done with these; what is not out is ignored. Returns how many there were."""
        before = len(self.out)
        found = list(map(self.out.pop, offsets, repeat(None)))
        mine: Sequence[int] = offsets
        if before - len(self.out) != len(offsets):
            mine = [offset for offset, message in zip(offsets, found, strict=True) if message is not None]
            if not mine:
                return 0
        first, last = min(mine), max(mine)
        if last - first + 1 == len(mine):
            self.done.mark_range(first, last + 1)
        else:
            self.done.mark_many(mine)
        if self.attempts:
            for offset in mine:
                self.attempts.pop(offset, None)
        self.dirty, self.is_full = True, False
        return len(mine)

    def release(self, offsets: Iterable[int], due_ms: int) -> bool:
        """Put these back until `due_ms`, and behind each what is out or returned of the same key."""
        mine = sorted(self.out.keys() & offsets)
        if not mine:
            return False
        rows = sorted(row for row in (*self.out.items(), *self.returned) if row[0] >= mine[0])
        released = set(mine)
        for offset, message in rows:
            key = message.key
            park = None if key is None else self.parks.get(key)
            if offset in released or (park and offset > park.rows[0][0]):
                self._park((offset, message), due_ms)
        self.dirty = True
        return True

    def give_back(self) -> None:
        """The holder went: everything that is out comes again at once."""
        if self.out:
            for offset in self.out:
                self.attempts[offset] = self.attempts.get(offset, 1) + 1
            self.returned = sorted((*self.returned, *self.out.items()))
            self.out.clear()
            self.dirty = True
        self.holder = None

    def snapshot(self, topic_id: str, *, bytes_max: int, ahead_ms: int = 0) -> tuple[int, str]:
        """The offset to commit, and what goes beside it, as if the holder went now."""
        low, self.bytes_max = self.done.low, bytes_max
        return low, pack(topic_id, low, self.done.ranges(), self._again(ahead_ms), bytes_max=bytes_max)

    def _add_fresh(self, rows: Sequence[Row]) -> None:
        self.fresh += rows
        self.fresh_bytes += _size_of(rows)

    def _take_again(self, count_max: int, now_ms: int) -> list[Row]:
        taken, self.returned = self.returned[:count_max], self.returned[count_max:]
        for key, park in list(self.parks.items()):
            if park.due_ms <= now_ms and len(taken) < count_max:
                room = count_max - len(taken)
                some = park.rows[:room]
                taken += some
                del park.rows[:room]
                self.parked -= len(some)
                if not park.rows:
                    del self.parks[key]
        return taken

    def _take_fresh(self, count_max: int, untold_max: int) -> list[Row]:
        """New rows that may be open, without those that have to wait behind a parked one of their key."""
        start = self.fresh_at
        rows = self.fresh[start : start + count_max]
        if rows[-1][0] >= self.open_to:
            untold = untold_count(self.done.low, self.done.ranges(), bytes_max=self.bytes_max)
            self.open_to = rows[0][0] + untold_max - untold
            rows = [row for row in rows if row[0] < self.open_to]
            self.is_full = not rows
        self.fresh_at = start + len(rows)
        self.fresh_bytes -= _size_of(rows)
        if self.fresh_at == len(self.fresh):
            self.fresh, self.fresh_at = [], 0
        elif self.fresh_at > 4_096:
            del self.fresh[: self.fresh_at]
            self.fresh_at = 0
        return self._hold_back(rows) if self.parks else rows

    def _hold_back(self, rows: list[Row]) -> list[Row]:
        taken = []
        for row in rows:
            key = row[1].key
            park = self.parks.get(key) if key is not None else None
            if park:
                park.rows.append(row)
                self.parked += 1
            else:
                taken.append(row)
        return taken

    def _park(self, row: Row, due_ms: int) -> None:
        offset, message = row
        if offset in self.out:
            del self.out[offset]
            self.attempts[offset] = self.attempts.get(offset, 1) + 1
        else:
            self.returned.remove(row)
        key = offset if message.key is None else message.key
        park = self.parks.setdefault(key, Park(due_ms, []))
        park.due_ms = max(park.due_ms, due_ms)
        insort(park.rows, row)
        self.parked += 1

    def _mark_gaps(self, rows: Sequence[Row]) -> None:
        """Offsets without a record are done."""
        at = self.next
        for offset, _ in rows:
            if offset > at:
                self.done.mark_range(at, offset)
                self.dirty = True
            at = offset + 1

    def _add_known(self, rows: Sequence[Row]) -> None:
        """Rows of which an earlier owner may have left word."""
        for row in rows:
            offset, message = row
            key = offset if message.key is None else message.key
            if self.done.is_done(offset):
                continue
            if offset in self.dues:
                park = self.parks.setdefault(key, Park(0, []))
                park.due_ms = max(park.due_ms, self.dues.pop(offset))
                park.rows.append(row)
                self.parked += 1
            elif offset not in self.attempts:
                self._add_fresh([row])
            elif key in self.parks:
                self.parks[key].rows.append(row)
                self.parked += 1
            else:
                self.returned.append(row)

    def _again(self, ahead_ms: int) -> list[Again]:
        """What would come again, in runs, with the times of the wall clock."""
        if not (self.attempts or self.returned or self.parks):
            offsets = sorted(self.out)
            if offsets and offsets[-1] - offsets[0] + 1 == len(offsets):
                return [Again(offsets[0], offsets[-1] + 1, 2, 0)]
        entries = [(offset, self.attempts.get(offset, 1) + 1, 0) for offset in self.out]
        entries += [(offset, self.attempts.get(offset, 1), 0) for offset, _ in self.returned]
        for park in self.parks.values():
            entries += [
                (offset, self.attempts.get(offset, 1), max(1, park.due_ms + ahead_ms)) for offset, _ in park.rows
            ]
        unread = [offset for offset in self.attempts if offset >= self.next]
        entries += [(o, self.attempts[o], max(1, self.dues[o] + ahead_ms) if o in self.dues else 0) for o in unread]
        return list(_runs(sorted(entries)))


def _size_of(rows: Iterable[Row]) -> int:
    return sum([len(message[2]) for _, message in rows])


def _runs(entries: list[tuple[int, int, int]]) -> Iterator[Again]:
    at = 0
    while at < len(entries):
        start, attempt, due_ms = entries[at]
        stop = at + 1
        while stop < len(entries) and entries[stop] == (start + stop - at, attempt, due_ms):
            stop += 1
        yield Again(start, start + stop - at, attempt, due_ms)
        at = stop
