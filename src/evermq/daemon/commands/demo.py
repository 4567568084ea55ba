"""evermq demo: real data through a ladder while things break."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from evermq.daemon.running import CHECK_FAILED, show
from evermq.errors import Misconfigured

__all__ = ["demo"]


def demo(
    json: Annotated[bool, typer.Option("--json", help="One JSON object at the end, nothing else.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many flights.")] = None,
    seed: Annotated[int, typer.Option(help="When what is killed.")] = 1,
    engines: Annotated[
        str | None, typer.Option(help="Real engines to start for it, as kafka,redis,zookeeper, instead of two logs.")
    ] = None,
    dir: Annotated[Path | None, typer.Option(help="Where to put logs, histories and the report.")] = None,
) -> None:
    """Send 336,776 real flights through a primary and a standby, kill processes and freeze the primary meanwhile (kill
    it, with --engines), and prove from recorded histories that nothing was lost. Takes less than two minutes."""
    try:
        from evermq.drills.flights import run as run_flights
    except ImportError as error:
        raise Misconfigured(f"the demo needs more packages ({error.name}): pip install 'evermq[demo]'") from error
    report = run_flights(count=count, seed=seed, directory=dir, live=not json, engines=engines)
    if json:
        show(msgspec.json.encode(report.as_dict()).decode())
    sys.exit(0 if report.verdict == "PASS" else CHECK_FAILED)
