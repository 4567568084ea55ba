"""The embedded log against the raw disk and against other durable engines: `python benchmarks/log.py --quick`.

See docs/internals/benchmarks.md for what is measured and how.
"""

from __future__ import annotations

from typing import Any

from embedded.messages import KINDS
from embedded.ours import awaiting, blocking
from embedded.raw import raw
from embedded.workbench import Workbench
from rig.command import parser, read, report
from rig.contender import Case
from rig.environment import disk, machine, versions

KB = 1024
NUMBERS = [f"B{number}" for number in range(1, 12)]


def appends(bench: Workbench) -> list[Case]:
    """Against the raw disk, always with groups of the same size."""
    one_thread, raw_one, raw_many = blocking(bench, 1, 1, KB), raw(bench, 1, KB), raw(bench, 256, KB)
    return [
        Case("B1", awaiting(bench, 4, 256, KB), raw(bench, 4 * 256, KB)),
        Case("B2", awaiting(bench, 4, 256, 10 * KB), raw(bench, 4 * 256, 10 * KB)),
        Case("B3", awaiting(bench, 4, 4096, 100), raw(bench, 4 * 4096, 100)),
        Case("B4", awaiting(bench, 256, 1, KB), raw_many),
        Case("B5", awaiting(bench, 256, 1, KB, loop="uvloop"), raw_many),
        Case("B6", awaiting(bench, 256, 1, 10 * KB), raw(bench, 256, 10 * KB)),
        Case("B7", awaiting(bench, 1, 1, KB), raw_one),
        Case("B8", awaiting(bench, 16, 1, KB), raw(bench, 16, KB)),
        Case("B9", one_thread, raw_one),
        Case("B10", blocking(bench, 4, 1, KB), raw(bench, 4, KB)),
        Case("B11", blocking(bench, 64, 1, KB), one_thread),
    ]


def main() -> None:
    arguments = parser("log", "The embedded log against the raw disk and other durable engines, side by side.")
    arguments.add_argument("--messages", choices=KINDS, default="keyed", help="what a message carries")
    options = read(arguments, NUMBERS)
    with Workbench(options.directory, options.given.messages) as bench:

        def environment() -> dict[str, Any]:
            around = {**machine(), **disk(bench.directory), "messages": bench.messages}
            return {**around, "loop": "asyncio, B5 uvloop", "versions": versions("evermq", "uvloop")}

        report("log", options, appends(bench), environment)


if __name__ == "__main__":
    main()
