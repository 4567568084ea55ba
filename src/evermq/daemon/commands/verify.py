"""evermq verify: check a log directory offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from evermq.daemon.counting import counting
from evermq.daemon.running import CHECK_FAILED, show

__all__ = ["verify"]


def verify(
    directory: Annotated[Path, typer.Argument(readable=False, help="The directory of a log, without a topic.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Read every byte of a log directory, change nothing, and say what is not intact. Exit status 1 if something is."""
    from evermq.adapters.log.verify import verify as check

    with counting("segments") as tell:
        report = check(directory, tell)
    if json:
        show(msgspec.json.encode(report.as_dict()).decode())
    else:
        show("\n".join(report.lines()))
    sys.exit(0 if report.ok else CHECK_FAILED)
