"""Which segments may be used again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evermq.adapters.log.batch import DELAY_LANE, DUE_LANE
from evermq.adapters.log.segment import Segment
from evermq.adapters.log.topic import Topic
from evermq.errors import Misconfigured

__all__ = ["Retention"]


@dataclass(frozen=True, slots=True)
class Retention:
    """A segment goes, oldest first, once every group of every topic in it has settled all of it.

    retain_bytes: settled segments stay up to this much, for groups that begin later and for replay; less where the
    disk is full, since a new message is worth more. retain_ms: and no longer than this.
    bytes_max: above it appends are refused (0: as the disk allows); with unread = "drop" the oldest segment goes
    instead, read or not.
    """

    retain_bytes: int = 1 << 30
    retain_ms: int = 7 * 86_400_000
    bytes_max: int = 0
    unread: str = "refuse"

    def __post_init__(self) -> None:
        if self.unread not in ("refuse", "drop"):
            raise Misconfigured(f'unread = "{self.unread}": give "refuse" or "drop"')
        if self.unread == "drop" and not self.bytes_max:
            raise Misconfigured('unread = "drop" needs bytes_max: how much to keep')

    def next_to_go(
        self, segments: list[Segment], topics: Mapping[int, Topic], now_ms: int, *, disk_full: bool = False
    ) -> Segment | None:
        """The oldest segment if it may go. The last one never goes: it is being written."""
        if len(segments) < 2:
            return None
        oldest = segments[0]
        size = sum(segment.size for segment in segments)
        if self.unread == "drop" and size + oldest.size > self.bytes_max:
            return oldest
        is_old = oldest.time_last_ms < now_ms - self.retain_ms
        is_over = disk_full or size > self.retain_bytes or bool(self.bytes_max and size + oldest.size > self.bytes_max)
        return oldest if (is_old or is_over) and is_settled(oldest, topics) else None

    def may_grow(self, segments: list[Segment]) -> bool:
        """Whether another segment fits under bytes_max."""
        size = sum(segment.size for segment in segments)
        return not self.bytes_max or self.unread == "drop" or not segments or size + segments[0].size <= self.bytes_max


def is_settled(segment: Segment, topics: Mapping[int, Topic]) -> bool:
    """Whether no group of any topic still needs a message of this segment."""
    for (number, lane), marks in segment.marks.items():
        topic = topics.get(number)
        if topic is None or lane == DUE_LANE:
            continue
        if lane == DELAY_LANE:
            low = topic.delays.low
            if low is not None and low < marks.end:
                return False
        elif not topic.groups or any(group.cursors[lane].low < marks.end for group in topic.groups.values()):
            return False
    return True
