"""evermq verify: check a log directory offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from evermq.daemon.running import CHECK_FAILED, is_terminal, show

__all__ = ["verify"]


def verify(
    directory: Annotated[Path, typer.Argument(readable=False, help="The directory of a log, without a topic.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Read every byte of a log directory, change nothing, and say what is not intact. Exit status 1 if something is."""
    from evermq.adapters.log.verify import verify as check

    report = check(directory, _told if is_terminal(sys.stderr) else None)
    if json:
        show(msgspec.json.encode(report.as_dict()).decode())
    else:
        show("\n".join(report.lines()))
    sys.exit(0 if report.ok else CHECK_FAILED)


def _told(count: int, total: int) -> None:
    end = "\n" if count == total else ""
    print(f"\r{count} of {total} segments", end=end, file=sys.stderr, flush=True)
