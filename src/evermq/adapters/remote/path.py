"""Socket paths of any length: the kernel takes 107 bytes, directories may be deeper."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["socket_address"]

_PATH_BYTES_MAX = 100


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """The path to bind or connect to; a long one goes through a descriptor of its directory."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
