"""evermq simulate: run seeded worlds in which everything breaks."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import msgspec
import typer

from evermq.daemon.completion import worlds
from evermq.daemon.counting import counting
from evermq.daemon.running import CHECK_FAILED, say, show
from evermq.errors import Misconfigured

__all__ = ["simulate"]


def simulate(
    world: Annotated[
        str | None, typer.Option(help="Which world; all that must pass if left out.", autocompletion=worlds)
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds A..B, both included.")] = "1..20",
    seed: Annotated[int | None, typer.Option(help="Replay one seed and print its trace hash.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the names of the worlds that must pass.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a world.")] = False,
) -> None:
    """Run simulated worlds by seed; the same seed is the same run. Exit status 1 if a seed fails."""
    from evermq.testing import world as playing

    known = playing.worlds()
    sound = [name for name, each in known.items() if not each.breaks]
    if list_:
        show("\n".join(sound))
        return
    if world is not None and world not in known:
        raise Misconfigured(f"there is no world {world!r}: known are {', '.join(known)}")
    wanted = range(seed, seed + 1) if seed is not None else _range(seeds)
    failed = False
    logging.getLogger("evermq").setLevel(logging.CRITICAL)  # what goes wrong there is meant to
    for name in [world] if world else sound:
        say(f"{name}: seeds {wanted.start} to {wanted.stop - 1} ...")
        with counting("seeds") as tell:
            summary = playing.run_world(name, wanted, tell=tell)
        failed = failed or bool(summary["failed"])
        show(msgspec.json.encode(summary).decode() if json else _sentence(summary))
    sys.exit(CHECK_FAILED if failed else 0)


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    if not (first.isdecimal() and (last.isdecimal() or not dots)) or int(last or first) < int(first):
        raise Misconfigured(f"--seeds {text!r}: give two whole numbers, the smaller first, as 1..100")
    return range(int(first), int(last or first) + 1)


def _sentence(summary: dict[str, object]) -> str:
    verdict = f"FAIL, seeds {summary['failed']}" if summary["failed"] else "PASS"
    trace = f", trace {summary['trace_hash']}" if "trace_hash" in summary else ""
    what = f"{summary['histories']} histories, {summary['crash_points']} crash points"
    invalid = f", seeds {summary['invalid']} prove nothing" if summary["invalid"] else ""
    return f"{summary['world']}: {verdict}: {what} in {summary['elapsed_s']} s{invalid}{trace}"
