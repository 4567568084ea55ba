"""How much of what is possible is reached: `python benchmarks/possible.py --quick`.

Ours beside the least that Python must do (bounds.py) in the same rounds: no peer that has a good or a bad minute comes
between them.
"""

from __future__ import annotations

from dataclasses import dataclass

from bounds import OF_THE_LOG, of_the_log
from embedded.workbench import Workbench
from log import appends, durable_engines, reads
from rig.command import parser, read, report
from rig.contender import Case
from rig.environment import disk, machine, versions
from rig.goals import GOALS, Goal

_THE_SAME = ("B13", "B14", "B15")  # as B12, against other peers
_MARK = ":least"
NUMBERS = [number + _MARK for number in OF_THE_LOG if number not in _THE_SAME]


@dataclass(frozen=True, eq=False)
class Part(Case):
    """Of a case, what ours and the least are to each other; a goal there is none, but that 1 is all there is."""

    @property
    def goal(self) -> Goal:
        return Goal(GOALS[self.number.removesuffix(_MARK)].case, "the least that Python must do", 0.0, 1.0)


def parts(bench: Workbench) -> list[Case]:
    """Of all cases of the log that have a bound."""
    ours = {case.number + _MARK: case.subject for case in appends(bench) + durable_engines(bench) + reads(bench)}
    least = {case.number + _MARK: case.subject for case in of_the_log(bench)}
    return [Part(number, ours[number], least[number]) for number in NUMBERS]


def main() -> None:
    options = read(parser("possible", "Ours beside the least that Python must do."), NUMBERS)
    with Workbench(options.directory, "plain") as bench:
        around = {**machine(), **disk(bench.directory), "versions": versions("evermq", "crc32c")}
        report("possible", options, parts(bench), lambda: around)


if __name__ == "__main__":
    main()
