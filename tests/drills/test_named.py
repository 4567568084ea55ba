"""The table of which test holds what names tests that exist, and leaves out no scenario and no fault."""

import ast
import re
from pathlib import Path

import pytest

from evermq.drills.faults.outages import FAULTS
from evermq.drills.faults.rows import ROWS

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "internals" / "drills.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([\w-]+)\])?`", TABLE)))
SCENARIOS = {1, 2, 3, 4, 5, 7, 18}
FAULT_ROWS = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13}


@pytest.mark.parametrize(("path", "name", "case"), NAMED, ids=["-".join(filter(None, each[1:])) for each in NAMED])
def test_test_that_the_table_names_exists(path: str, name: str, case: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    defined = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    [found] = [node for node in defined if node.name == name]
    if case:
        assert f'id="{case}"' in "".join(ast.unparse(each).replace("'", '"') for each in found.decorator_list)


@pytest.mark.parametrize("row", [*(f"RT{number}" for number in SCENARIOS), *(f"F{number}" for number in FAULT_ROWS)])
def test_scenario_or_fault_has_a_row_that_names_who_holds_it(row: str) -> None:
    [line] = [line for line in TABLE.splitlines() if line.startswith(f"| {row} |")]
    of_matrix = re.findall(r"`([a-z+-]+)`", line)
    assert set(of_matrix) <= {*FAULTS, *ROWS}
    assert of_matrix or "::" in line
    tests = [name for _, name, _ in re.findall(r"`(tests/[\w/]+\.py)::(\w+)(\[[\w-]+\])?`", line)]
    assert not row.startswith("RT") or tests


def test_cases_of_the_diagonal_are_all_in_the_table() -> None:
    text = (ROOT / "tests" / "drills" / "test_diagonal.py").read_text(encoding="utf-8")
    cases = set(re.findall(r'id="([\w-]+)"', text))
    assert cases == {case for _, _, case in NAMED if case}
