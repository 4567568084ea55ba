"""What was asked of a log, what it answered and when, and what therefore may and must be found of it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace

from evermq.message import DELIVER_AT, Message
from evermq.testing.simulation.disk import FakeDisk

__all__ = ["Books"]


@dataclass(slots=True)
class Books:
    """Moments are steps of the disk: so many operations were done by then.

    messages, topic, number: by id; number counts the messages of one producer. acked, settled: when the answer came.
    settling: when it was asked for. refused: certainly not appended. segment_syncs: when the log was flushed;
    cursor_syncs: when what groups have done was; cursor_failures: when that failed; cursor_replacements: when it was
    written down anew. wrong: what was seen to be wrong already.
    """

    messages: dict[str, Message] = field(default_factory=dict)
    topic: dict[str, str] = field(default_factory=dict)
    number: dict[str, tuple[str, int]] = field(default_factory=dict)
    acked: dict[str, int] = field(default_factory=dict)
    settling: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    segment_syncs: list[int] = field(default_factory=list)
    cursor_syncs: list[int] = field(default_factory=list)
    cursor_failures: list[int] = field(default_factory=list)
    cursor_replacements: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, disk: FakeDisk) -> None:
        """Take down when this disk, whose life is over, flushed."""
        self.segment_syncs = sorted([*self.segment_syncs, *disk.syncs("segment-")])
        self.cursor_syncs += disk.syncs("cursors-")
        self.cursor_failures += disk.failed_syncs("cursors-")
        self.cursor_replacements += disk.replacements("cursors-")

    def stored(self, before: int, *, synced_only: bool) -> set[str]:
        """The acknowledged messages that must be there after a crash, operations up to `before` being done."""
        return _known(self.acked, self.segment_syncs, before, synced_only)

    def done(self, before: int, *, synced_only: bool) -> set[str]:
        """The settled messages that must not come again after it."""
        return _known(self.settled, self.cursor_syncs, before, synced_only) - self._lost_again(before)

    def _lost_again(self, before: int) -> set[str]:
        """The settled messages of which a failed flush took the note, and that nobody wrote down again: whoever opens
        the log then, and flushes what is left, does not know of them."""
        lost: set[str] = set()
        for failure in (step for step in self.cursor_failures if step <= before):
            good = [*self.cursor_syncs, *self.cursor_replacements]
            since = max((step for step in good if step < failure), default=0)
            then = min((step for step in good if failure < step <= before), default=None)
            if then not in self.cursor_replacements:
                lost |= {id for id, moment in self.settled.items() if since <= moment < failure}
        return lost

    def delayed(self) -> set[str]:
        """The messages that had to wait for their time."""
        return {id for id, message in self.messages.items() if DELIVER_AT in message.headers}

    def perhaps_done(self, before: int) -> set[str]:
        """The messages that may be settled after it."""
        return {id for id, moment in self.settling.items() if moment <= before}

    def after(self, before: int, *, power: bool, always: bool) -> Books:
        """The books of the life that follows a crash, its disk counting from 0; always: every append is flushed.

        Moment 0 is what the crash left, as volatile as it was; moment -1 is what was durable by then.
        """
        durable = self.stored(before, synced_only=not always)
        durably_done = self.done(before, synced_only=True)
        stored = self.stored(before, synced_only=power and not always)
        done = self.done(before, synced_only=power)
        return replace(
            self,
            messages=dict(self.messages),
            topic=dict(self.topic),
            number=dict(self.number),
            acked={id: -1 if id in durable else 0 for id in stored},
            settling=dict.fromkeys(self.perhaps_done(before), -1),
            settled={id: -1 if id in durably_done else 0 for id in done},
            refused=set(self.refused),
            segment_syncs=[0],
            cursor_syncs=[0],
            cursor_failures=[],
            cursor_replacements=[],
            wrong=[],
        )


def _known(moments: dict[str, int], syncs: list[int], before: int, synced_only: bool) -> set[str]:
    """What was answered by `before`; if synced_only, what was flushed after its answer and by then."""
    if synced_only:
        at = bisect_right(syncs, before)
        before = syncs[at - 1] - 1 if at else -2
    return {id for id, moment in moments.items() if moment <= before}
