"""The command line that all benchmarks share, and how their outcome is printed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.contender import Case
from rig.pages import refresh
from rig.progress import say
from rig.report import as_json, as_table
from rig.rounds import run

__all__ = ["Options", "parser", "read", "report"]

_ROUNDS, _ROUNDS_QUICK = 5, 3
_SECONDS, _SECONDS_QUICK = 0.6, 0.25


@dataclass(frozen=True)
class Options:
    """What the command line asks for. numbers: of the cases to run, empty for all."""

    rounds: int
    seconds: float
    numbers: list[str]
    json: bool
    out: Path | None
    directory: Path
    given: argparse.Namespace


def parser(name: str, about: str) -> argparse.ArgumentParser:
    """The options of every benchmark; add what is special to one."""
    made = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=about)
    made.add_argument("--quick", action="store_true", help=f"{_ROUNDS_QUICK} rounds, short ones")
    made.add_argument("--json", action="store_true", help="print one JSON object, progress goes to standard error")
    made.add_argument("--out", type=Path, metavar="FILE", help="write that JSON object to a file as well")
    made.add_argument("--case", default="", metavar="B1,B2", help="run these cases only")
    made.add_argument("--dir", type=Path, default=Path(), metavar="DIR", help="where data goes (default: here)")
    made.add_argument("--rounds", type=int, metavar="N", help=f"default {_ROUNDS}")
    made.add_argument("--seconds", type=float, metavar="S", help=f"of one measurement, default {_SECONDS}")
    return made


def read(arguments: argparse.ArgumentParser, known: Sequence[str]) -> Options:
    """The options given; leaves with status 2 for a case that is not known."""
    given = arguments.parse_args()
    numbers = [number.strip() for number in given.case.split(",") if number.strip()]
    wrong = [number for number in numbers if number not in known]
    if wrong:
        arguments.error(f"there is no case {', '.join(wrong)}: give some of {', '.join(known)}")
    rounds = given.rounds or (_ROUNDS_QUICK if given.quick else _ROUNDS)
    seconds = given.seconds or (_SECONDS_QUICK if given.quick else _SECONDS)
    return Options(rounds, seconds, numbers, given.json, given.out, given.dir, given)


def report(name: str, options: Options, cases: Sequence[Case], environment: Callable[[], dict[str, Any]]) -> None:
    """Run the cases that were asked for and print the outcome; environment() is asked when all peers are there."""
    wanted = [case for case in cases if not options.numbers or case.number in options.numbers]
    rows = run(wanted, rounds=options.rounds, seconds=options.seconds)
    around = environment()
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(as_json(name, around, rows) + "\n")
        for document in refresh(options.out):
            say(f"{document} shows it")
    print(as_json(name, around, rows) if options.json else as_table(name, around, rows))
