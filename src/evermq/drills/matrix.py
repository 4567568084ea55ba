"""The fault matrix: every fault over every pair of engines, one drill a cell, stored as it ends, so that a run that was
stopped goes on where it stopped.

    python -m evermq.drills.matrix docs/internals/faults.jsonl            holds what is missing or did not pass
    python -m evermq.drills.matrix docs/internals/faults.jsonl --page     writes the page beside it
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from evermq.drills.archive import Held, new
from evermq.drills.conduct import hold_over
from evermq.drills.degrade import Plan
from evermq.drills.faults.outages import FAULTS
from evermq.drills.faults.rows import ROWS, Engines
from evermq.drills.live import Live
from evermq.drills.matrix_page import page
from evermq.drills.setting import over, running
from evermq.errors import EvermqError

__all__ = ["COLUMNS", "GROUPS", "PACE", "Cell", "cells", "main", "missing", "run"]

ORDERED = "+order"  # of a column: kept per key, and the ladder's doubles dropped
_ENGINES = {
    "KS": "kafka-three,redis-sentinel,zookeeper-three",
    "KL": "kafka-linked,redis-sentinel,zookeeper",
    "RS": "rabbitmq,redis,zookeeper",
    "KR": "kafka,rabbitmq,zookeeper",
    "MS": "rocketmq,redis,zookeeper",
}
COLUMNS = {**_ENGINES, **{column + ORDERED: names for column, names in _ENGINES.items()}}
# Faster back than the usual half a minute: hundreds of cycles have to end.
PACE = {"probe_ms": 500, "canary": 10, "good": 3, "good_ms": 2_000, "dwell_ms": 4_000, "returning_ms": 2_000}
GROUPS = ("billing", "shipping")
_ALL_ROWS = (*FAULTS, *(name for name, row in ROWS.items() if not row.long))


class Cell(msgspec.Struct, frozen=True):
    """The drill of a fault (row) over engines (column). reasons: why it did not pass. versions: of the engines; the
    oldest results have none."""

    column: str
    row: str
    engines: str
    seed: int
    began: str
    evermq: str
    verdict: str
    figures: dict[str, Any]
    reasons: list[str] = []
    versions: dict[str, str] = {}


def cells(path: Path) -> list[Cell]:
    """What is stored; of a cell that was held again, the newest."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = [msgspec.json.decode(line, type=Cell) for line in lines]
    return list({(cell.column, cell.row): cell for cell in found}.values())


def _row_fits(row: str, names: str) -> bool:
    """Whether the ladder has the part that the fault is of, and whether it is there for the fault's sake."""
    needs = ROWS[row].needs if row in ROWS else ""
    if (needs == "links") != names.startswith("kafka-linked"):
        return False
    if needs == "quorum":
        return names.endswith("zookeeper-three")
    return needs != "coordinator" or len(names.split(",")) > 2


def missing(stored: Iterable[Cell], column: str, rows: Iterable[str]) -> list[str]:
    """The rows of a column that fit it, and have not passed when they were held last over its engines, if ever."""
    here = [cell for cell in stored if (cell.column, cell.engines) == (column, COLUMNS[column])]
    passed = {cell.row for cell in here if cell.verdict == "PASS"}
    return [row for row in rows if row not in passed and _row_fits(row, COLUMNS[column])]


async def run(path: Path, columns: Sequence[str], rows: Sequence[str], *, seed: int, rate: float) -> list[Cell]:
    """Hold the drills that have not passed yet. What is stored stays; of a cell the newest line counts. The
    engines of a column are started once; each drill has its topic."""
    stored = cells(path)
    held = []
    for column in columns:
        todo = missing(stored, column, rows)
        if not todo:
            continue
        async with running(COLUMNS[column]) as engines:
            for number, row in enumerate(todo):
                cell = await _hold(column, row, engines, seed=seed + number, rate=rate)
                with path.open("ab") as file:
                    file.write(msgspec.json.encode(cell) + b"\n")
                print(f"{column} {row}: {cell.verdict} {'; '.join(cell.reasons)}", file=sys.stderr, flush=True)
                held.append(cell)
    return held


async def _hold(column: str, row: str, engines: Engines, *, seed: int, rate: float) -> Cell:
    plan = Plan(healthy_s=5, hold_s=8, seed=seed, rate=rate, forbid=frozenset())
    place = new(f"{column}-{row}", Path(tempfile.gettempdir()) / "evermq-matrix")
    topic = f"{row.replace('+', '-')}-{seed}"
    await asyncio.to_thread(engines.heal)
    order = column.endswith(ORDERED)
    setting = over(engines, row, place, topic=topic, groups=GROUPS, switch=PACE, order=order)
    try:
        with Live(False) as live:
            held = await hold_over(setting, plan, place, live)
        return _cell(column, row, held, seed)
    except EvermqError as error:
        names, own, said = ",".join(engines.names), version("evermq"), str(error).split("\n")[0]
        return Cell(column, row, names, seed, "", own, "INVALID", {}, [said], await asyncio.to_thread(engines.versions))


def _cell(column: str, row: str, held: Held, seed: int) -> Cell:
    dropped = ("verdict", "report", "picture", "cycles", "failovers", "recovery_s")
    figures = {name: value for name, value in held.figures.items() if name not in dropped}
    names = ",".join(held.engines)
    verdict, engines = held.figures["verdict"], dict(held.versions)
    own = engines.pop("evermq")
    return Cell(column, row, names, seed, held.began, own, verdict, figures, held.reasons, engines)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m evermq.drills.matrix")
    parser.add_argument("results", type=Path)
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--rows", default=",".join(_ALL_ROWS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=240)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args(arguments)
    if not given.page:
        columns, rows = given.columns.split(","), given.rows.split(",")
        asyncio.run(run(given.results, columns, rows, seed=given.seed, rate=given.rate))
    found = cells(given.results)
    given.results.with_suffix(".md").write_text(page(found, list(COLUMNS.items()), _ALL_ROWS))
    return 0 if all(cell.verdict == "PASS" for cell in found) else 1


if __name__ == "__main__":
    sys.exit(main())
