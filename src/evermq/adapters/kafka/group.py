"""How the readers of one group in one process share the lanes that the process was assigned.

A lane is held by the reader that has something of it which is not settled, and only the holder is handed more of it.
Beyond its fair share of the lanes a reader takes none while another reader waits with less.

Lanes come and go in the consumer's thread, everything else happens in the loop: `lock` stands between the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Condition
from typing import Protocol

from evermq.adapters.kafka.lane import Lane, Row

__all__ = ["Group", "Member", "Taken"]

Taken = tuple[Lane, list[Row], list[int] | None]
_ENOUGH = 1_000


class Member(Protocol):
    """What a group needs to know of its readers."""

    @property
    def is_waiting(self) -> bool: ...
    def wake(self) -> None: ...


class Group:
    """readers: those that are open, with the lanes that each holds. lock: wakes who waits for a lane to be settled.
    at_once: somebody above drops what is handed out again, so that as much may be done as no commit can tell."""

    def __init__(self, name: str, window: int, *, at_once: bool = False) -> None:
        self.name = name
        self.window = window
        self._untold_max = sys.maxsize if at_once else window
        self.lock = Condition()
        self.lanes: dict[int, Lane] = {}
        self.readers: dict[Member, dict[int, None]] = {}
        self._first = 0
        self._leaving: Sequence[Lane] = ()
        self._is_ended = False

    def take(self, reader: Member, count_max: int, now_ms: int) -> list[Taken]:
        """Rows of the lanes that the reader may have; each call begins with another lane."""
        found: list[Taken] = []
        with self.lock:
            lanes = list(self.lanes.values())
            self._first += 1
            for i in range(len(lanes)):
                lane = lanes[(self._first + i) % len(lanes)]
                if not (lane.buffered or lane.returned or lane.parks) or not self._may_read(reader, lane):
                    continue
                rows, attempts = lane.take(count_max, now_ms, self.window, self._untold_max)
                if rows:
                    found.append((lane, rows, attempts))
                    count_max -= len(rows)
                    lane.holder = reader
                    self.readers[reader][lane.number] = None
                    if not count_max:
                        break
        return found

    def untake(self, reader: Member, taken: Iterable[Taken]) -> None:
        """The reader was given up before it got these: they come again as if they had not been handed out."""
        with self.lock:
            for lane, rows, _ in taken:
                if lane.holder is reader:
                    lane.untake(rows)
                    self._free(reader, lane)
        self.wake()

    def settle(self, reader: Member, offsets: Mapping[int, Sequence[int]]) -> int:
        """Done with these, by lane, where the reader holds the lane; returns how many there were."""
        changed = 0
        with self.lock:
            for lane in self._held(reader, offsets):
                changed += lane.settle(offsets[lane.number])
                self._free(reader, lane)
        return changed

    def release(self, reader: Member, offsets: Mapping[int, Sequence[int]], due_ms: int) -> bool:
        """Put these back, by lane, where the reader holds the lane."""
        changed = False
        with self.lock:
            for lane in self._held(reader, offsets):
                changed |= lane.release(offsets[lane.number], due_ms)
                self._free(reader, lane)
        self.wake()
        return changed

    def leave(self, reader: Member) -> None:
        """A reader goes; what it holds comes again."""
        with self.lock:
            for lane in self._held(reader, self.readers.pop(reader, {})):
                lane.give_back()
            self.lock.notify_all()
        self.wake()

    def assign(self, lanes: Iterable[Lane]) -> None:
        """These are the process's own now."""
        with self.lock:
            self.lanes.update({lane.number: lane for lane in lanes})

    def withdraw(self, numbers: Iterable[int], *, wait_s: float = 0) -> list[Lane]:
        """These go to another process: hand out no more of them, wait a while for what is out, and return them."""
        with self.lock:
            gone = [lane for number in numbers if (lane := self.lanes.pop(number, None))]
            if wait_s:
                self._leaving = gone
                self.lock.wait_for(lambda: self._is_ended or not any(lane.out for lane in gone), wait_s)
            self._leaving = []
            for lane in gone:
                if lane.holder is not None:
                    self.readers.get(lane.holder, {}).pop(lane.number, None)  # type: ignore[call-overload]
                lane.give_back()
        return gone

    def end(self) -> None:
        """This process leaves the group: it waits for nothing that is out."""
        with self.lock:
            self._is_ended = True
            self.lock.notify_all()

    def wake(self) -> None:
        """Let every reader look again."""
        for reader in self.readers:
            reader.wake()

    def due_ms(self) -> int | None:
        """When the next parked message of any lane may go."""
        with self.lock:
            return min((due for lane in self.lanes.values() if (due := lane.due_ms()) is not None), default=None)

    @property
    def is_hungry(self) -> bool:
        """Whether a reader waits."""
        return any(reader.is_waiting for reader in self.readers)

    @property
    def is_short(self) -> bool:
        """Whether little is left to hand out without asking the engine."""
        return sum(lane.buffered for lane in self.lanes.values()) < _ENOUGH

    def _held(self, reader: Member, numbers: Iterable[int]) -> Iterator[Lane]:
        """Lanes that the reader holds; those on their way to another process too, as long as that waits."""
        leaving = {lane.number: lane for lane in self._leaving}
        for number in numbers:
            lane = leaving.get(number) or self.lanes.get(number)
            if lane and lane.holder is reader:
                yield lane

    def _free(self, reader: Member, lane: Lane) -> None:
        if not lane.out:
            lane.holder = None
            self.readers[reader].pop(lane.number, None)
            if self._leaving:
                self.lock.notify_all()
            if len(self.readers) > 1:
                self.wake()

    def _may_read(self, reader: Member, lane: Lane) -> bool:
        if lane.holder is not None and lane.holder is not reader:
            return False
        if len(self.readers) == 1:
            return True
        held = self.readers[reader]
        share = -(-len(self.lanes) // len(self.readers))
        rank = list(held).index(lane.number) if lane.number in held else len(held)
        return rank < share or not any(self._starves(other, share) for other in self.readers if other is not reader)

    def _starves(self, reader: Member, share: int) -> bool:
        return reader.is_waiting and len(self.readers[reader]) < share
