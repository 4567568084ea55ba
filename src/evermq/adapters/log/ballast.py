"""Room that is held back, so that what readers have done can be written down on a full disk too.

The room is a reserved file. It shrinks in portions when a small write meets a full disk, and it grows back before
anything else may grow: no new segment is made while it is not whole. In portions, because a neighbour that fills the
disk would take whatever is given up at once.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from threading import Lock

from evermq.adapters.log.disk import Disk

__all__ = ["Ballast", "is_full"]

_NAME = "ballast"
_BYTES_MAX = 64 << 20
_SHARE = 20  # of the disk: one part in so many
_PORTIONS = 16
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: OSError) -> bool:
    """Whether an error says that there is no room."""
    return error.errno in _FULL


class Ballast:
    """min(64 MiB, 5 % of the disk), and no more than a segment. `held`: how much of it there is now."""

    def __init__(self, disk: Disk, segment_bytes: int) -> None:
        self._disk = disk
        self._lock = Lock()
        self.size = min(_BYTES_MAX, disk.capacity() // _SHARE, segment_bytes)
        self.held = 0
        try:
            self.hold()
        except OSError:
            self.held = disk.reserved(_NAME)  # what an earlier owner could reserve

    def hold(self) -> None:
        """Make it whole. OSError where there is no room for that."""
        with self._lock:
            if self.held < self.size:
                self._disk.reserve(_NAME, self.size)
                self.held = self.size

    def write(self, work: Callable[[], None]) -> None:
        """Do a small write; where the disk is full, again with room from here. OSError once none is left."""
        while True:
            try:
                work()
                return
            except OSError as error:
                if not is_full(error) or not self._give():
                    raise

    def _give(self) -> bool:
        with self._lock:
            if not self.held:
                return False
            rest = max(0, self.held - -(-self.size // _PORTIONS))
            self._disk.reserve(_NAME, rest)
            self.held = rest
            return True
