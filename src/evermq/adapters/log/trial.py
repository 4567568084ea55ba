"""Whether a disk takes writes again after one has failed."""

from __future__ import annotations

from evermq.adapters.log.disk import Disk

__all__ = ["takes_writes"]

_NAME = "trial-unready"  # what ends so is removed by the next owner, should this one be killed meanwhile
_BYTES = 4096


def takes_writes(disk: Disk) -> bool:
    """Whether a file could be made, flushed and removed just now. It takes as long as the disk does."""
    try:
        if _NAME in disk.names():
            disk.remove(_NAME)
        file = disk.create(_NAME, _BYTES)
        try:
            file.sync()
        finally:
            file.close()
        disk.remove(_NAME)
        disk.sync_names()
    except OSError:
        return False
    return True
