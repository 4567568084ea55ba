"""The page of the fault matrix, from its stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evermq.drills.faults.rows import ROWS

if TYPE_CHECKING:
    from evermq.drills.matrix import Cell

__all__ = ["page"]

_ABOUT = {
    "kill": "the primary as a whole is killed (SIGKILL)",
    "stop": "the primary as a whole ends in order",
    "freeze": "the primary as a whole stands still (SIGSTOP)",
    "cut": "connections to the primary are reset and refused",
    "slow": "1.5 s more in either direction",
    "swallow": "F7: one answer in five is lost",
}
_HEAD = """# The fault matrix

Each cell is one drill with real servers and real processes: two producers and two consumers a group, two groups, at
least one of each killed meanwhile; the verdict comes from their recorded histories. Generated from
[faults.jsonl](faults.jsonl), where every figure of every drill stands with its seed and version; `make chaos` holds
what is missing there or did not pass, and rewrites this page, which shows the newest result of each. In a column
`+order` the topic keeps order per key and drops the ladder's doubles: an inversion or a business double is a FAIL
there; the other columns promise neither. Times are of a machine with two cores that others use as well. The switch is
set to come back within seconds, not within the usual half a minute. A drill held before 2026-11-29 counts `left after`
up to the last producer's first acknowledgement from another rung, later ones until it begins there without trying the
primary first.
"""


def page(cells: Sequence[Cell], columns: Sequence[tuple[str, str]], rows: Sequence[str]) -> str:
    """As Markdown."""
    by = {(cell.column, cell.row): cell for cell in cells}
    shown = [(column, names) for column, names in columns if any(cell.column == column for cell in cells)]
    lines = [_HEAD, *(f"- **{column}**: {names.replace(',', ', ')}" for column, names in shown), ""]
    lines += [_row(["fault", *(column for column, _ in shown)]), _row(["---"] * (len(shown) + 1))]
    for row in rows:
        about = ROWS[row].about if row in ROWS else _ABOUT[row]
        found = [by.get((column, row)) for column, _ in shown]
        lines.append(_row([f"`{row}`: {about}", *(_verdict(cell) for cell in found)]))
    lines += ["", f"{_totals(cells)}", "", _versions(cells), ""]
    lines += [*_of_other_engines(cells, dict(shown)), *_details(cells)]
    return "\n".join([*lines, ""])


def _verdict(cell: Cell | None) -> str:
    return "-" if cell is None else cell.verdict if cell.verdict == "PASS" else f"**{cell.verdict}**"


def _totals(cells: Sequence[Cell]) -> str:
    count = {name: sum(cell.verdict == name for cell in cells) for name in ("PASS", "FAIL", "INVALID")}
    messages = sum(cell.figures.get("acknowledged", 0) for cell in cells)
    lost = sum(cell.figures.get("lost", 0) for cell in cells)
    kills = sum(cell.figures.get("kills", 0) for cell in cells)
    verdicts = ", ".join(f"{number} {name}" for name, number in count.items())
    return (
        f"{len(cells)} drills: {verdicts}; {messages:,} messages acknowledged, {lost:,} lost, {kills} clients killed."
    )


def _of_other_engines(cells: Sequence[Cell], columns: Mapping[str, str]) -> list[str]:
    """Drills of a column that were held before it had the engines that it has now."""
    rows: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.engines != columns.get(cell.column):
            rows.setdefault((cell.column, cell.engines), []).append(f"`{cell.row}`")
    found = [f"- {column}, {names.replace(',', ', ')}: {', '.join(some)}" for (column, names), some in rows.items()]
    return ["Held over other engines than the column has now, and due again:", "", *found, ""] if found else []


def _versions(cells: Sequence[Cell]) -> str:
    """All that were seen."""
    seen: dict[str, set[str]] = {}
    for cell in cells:
        for name, version in {"evermq": cell.evermq, **cell.versions}.items():
            seen.setdefault(name, set()).add(version)
    said = [f"{name} {' and '.join(sorted(versions))}" for name, versions in sorted(seen.items())]
    return f"Versions, where a result has them: {', '.join(said)}."


def _details(cells: Sequence[Cell]) -> list[str]:
    heads = ["drill", "seed", "left after", "back after", "longest stall", "restart", "acknowledged", "lost"]
    heads += ["stranded", "doubles handed out", "inversions"]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for cell in sorted(cells, key=lambda each: (each.column, each.row)):
        of = cell.figures
        times = [_s(of.get(name)) for name in ("flip_s", "return_s", "stall_max_s", "restart_max_s")]
        counted = ("acknowledged", "lost", "stranded", "duplicates_raw", "inversions")
        lines.append(
            _row([f"{cell.column} {cell.row}", str(cell.seed), *times, *(_n(of.get(name)) for name in counted)])
        )
    reasons = [f"- {cell.column} {cell.row}: {'; '.join(cell.reasons)}" for cell in cells if cell.reasons]
    return [*lines, *(["", "Those that did not pass:", "", *reasons] if reasons else [])]


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _s(value: Any) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _n(value: Any) -> str:
    return "-" if value is None else f"{value:,}"
