"""Which segments may be used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evermq.adapters.log.segment import Segment
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
        self,
        segments: Sequence[Segment],
        is_settled: Callable[[Segment], bool],
        now_ms: int,
        *,
        disk_full: bool = False,
    ) -> Segment | None:
        """The oldest segment if it may go. The last one never goes: it is being written.

        is_settled(segment): whether no group needs a message of it any more. disk_full: none is kept for replay.
        """
        if len(segments) < 2:
            return None
        oldest = segments[0]
        size = sum(segment.size for segment in segments)
        if self.unread == "drop" and size + oldest.size > self.bytes_max:
            return oldest
        is_old = oldest.time_last_ms < now_ms - self.retain_ms
        is_over = disk_full or size > self.retain_bytes or bool(self.bytes_max and size + oldest.size > self.bytes_max)
        return oldest if (is_old or is_over) and is_settled(oldest) else None

    def may_grow(self, segments: Sequence[Segment]) -> bool:
        """Whether another segment fits under bytes_max."""
        size = sum(segment.size for segment in segments)
        return not self.bytes_max or self.unread == "drop" or not segments or size + segments[0].size <= self.bytes_max
