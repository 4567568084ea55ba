"""When a group is written though more messages are on their way: making and writing go on side by side.

One group for everything is best where a flush takes long: what comes meanwhile shares it. Where a flush is quick, the
disk would idle while the next group is made, and the callers while it is written; two groups of equal size keep both
at work.
"""

from __future__ import annotations

__all__ = ["Pace"]

_UNIT_BYTES = 128 << 10  # about where a write begins to cost more than its flush
_QUICK_S = 0.001  # of a unit; a group of it takes about that long to be made, message by message
_SHARE = 0.4  # of what goes around: about half, so that two groups take turns
_KEEP = 0.9
_FORGET = 1.01  # what was the quickest counts less with each group: a disk may become slow


class Pace:
    """Told of every group that was written; not thread-safe, a stale answer is harmless.

    enough_bytes: a group from this size on is written at once; infinite where flushes are slow.
    """

    def __init__(self) -> None:
        self.enough_bytes: float = _UNIT_BYTES
        self._around = 0.0
        self._unit_s = 0.0

    def note(self, size: int, took_s: float, waiting: int) -> None:
        """A group of so many bytes was written and flushed; so many bytes came meanwhile."""
        units = max(1.0, size / _UNIT_BYTES)
        self._unit_s = min(took_s / units, self._unit_s * _FORGET) or took_s / units
        self._around = max(size + waiting, self._around * _KEEP)
        is_quick = self._unit_s < _QUICK_S
        self.enough_bytes = max(_UNIT_BYTES, _SHARE * self._around) if is_quick else float("inf")
