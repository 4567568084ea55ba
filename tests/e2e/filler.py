"""Another user of a disk: `python -m tests.e2e.filler FILE` fills it on every line `fill` and frees it on `free`."""

from __future__ import annotations

import os
import sys

_BLOCK = bytes(4096)


def fill(path: str) -> None:
    """Write until nothing more goes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while os.write(fd, _BLOCK):
            pass
    except OSError:
        pass
    finally:
        os.close(fd)


def main() -> None:
    for line in sys.stdin:
        if line.strip() == "fill":
            fill(sys.argv[1])
        else:
            os.unlink(sys.argv[1])
        print("done", flush=True)


if __name__ == "__main__":
    main()
