"""Rows as one JSON object, as a table for a terminal, and as Markdown for the documentation."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from rig.goals import GOALS, Goal
from rig.rounds import Row

__all__ = ["as_json", "as_markdown", "as_table"]

_HEADINGS = ("case", "against", "ratio", "min - max", "floor", "aim", "ours /s", "peer /s")


def as_json(name: str, environment: Mapping[str, Any], rows: Iterable[Row]) -> str:
    """The object that scripts read. A row has a `reason` only where it has no ratio."""
    plain = [{k: _rounded(v) for k, v in asdict(row).items() if k != "reason" or v} for row in rows]
    return json.dumps({"benchmark": name, "environment": environment, "rows": plain})


def as_table(name: str, environment: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """For people: every row with the floor and the aim of its goal."""
    table = Table(*_HEADINGS, title=f"benchmark {name}", title_justify="left")
    for row in rows:
        table.add_row(*_cells(asdict(row)))
    console = Console(file=io.StringIO(), width=180, force_terminal=False)
    console.print(table)
    for key, value in environment.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().rstrip()


def as_markdown(stored: Mapping[str, Any]) -> str:
    """The table of a stored run."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "| " + " | ".join("---" for _ in _HEADINGS) + " |"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in stored["rows"]]
    lines += ["", *(f"- {key}: {value}" for key, value in stored["environment"].items())]
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    goal = GOALS.get(row["case"].split()[0])
    goals = [f"{goal.floor:g}", f"{goal.aim:g}"] if goal else ["", ""]
    if row["ratio"] is None:
        return [row["case"], row["peer"], "none", str(row.get("reason")), *goals, "", ""]
    span = f"{row['ratio_min']:.3g} - {row['ratio_max']:.3g}"
    per_s = [f"{row[key]:,.0f}" for key in ("subject_per_s", "peer_per_s")]
    return [row["case"], row["peer"], f"{row['ratio']:.3g} {_verdict(row['ratio'], goal)}", span, *goals, *per_s]


def _verdict(ratio: float, goal: Goal | None) -> str:
    if goal is None:
        return ""
    return "aim" if ratio >= goal.aim else "ok" if ratio >= goal.floor else "SHORT"


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
