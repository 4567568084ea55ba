"""What tests need and may not find."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evermq.drills.engines.engine import Missing

__all__ = ["memory_disk", "needed"]

_MEMORY = Path("/dev/shm")
_MEMORY_BYTES_MIN = 1 << 30


@contextmanager
def needed() -> Iterator[None]:
    """What is not installed here is a reason to skip; in CI, where all of it has to be, it is a failure."""
    try:
        yield
    except Missing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def memory_disk() -> Path | None:
    """Where directories are made whose contents nobody means to find after a power cut: flushing and removing them
    takes most of the time of a short test. None, which is wherever temporary files go, if there is too little memory
    for that."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES_MIN else None
