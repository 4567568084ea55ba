"""Style held from the first commit: short functions, short files, plain names, a public list in every module."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "evermq"
FILES = sorted(SOURCE.rglob("*.py"))
EVERY_FILE = FILES + sorted(p for d in ("tests", "benchmarks", "examples") for p in (ROOT / d).rglob("*.py"))
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "misc", "impl", "core", "stuff"}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
FUNCTION_LINES_MEDIAN_MAX = 10

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield f"{name(path)}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", EVERY_FILE, ids=name)
def test_file_is_at_most_400_lines(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= FILE_LINES_MAX, f"{name(path)} has {lines} lines: split it by class or verb"


@pytest.mark.parametrize("path", EVERY_FILE, ids=name)
def test_function_is_at_most_50_lines(path: Path) -> None:
    long = [f"{where}: {lines} lines" for where, lines in functions(path) if lines > FUNCTION_LINES_MAX]
    assert not long, long


def test_median_function_is_under_10_lines() -> None:
    lengths = [lines for path in FILES for _, lines in functions(path)]
    assert statistics.median(lengths) < FUNCTION_LINES_MEDIAN_MAX


@pytest.mark.parametrize("path", EVERY_FILE, ids=name)
def test_file_name_says_what_is_in_it(path: Path) -> None:
    assert not BANNED_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_module_has_a_docstring_and_lists_what_is_public(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{name(path)} has no docstring"
    targets = [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)]
    defines = any(isinstance(n, Function | ast.ClassDef) and not n.name.startswith("_") for n in tree.body)
    assert "__all__" in targets or not defines, f"{name(path)} has no __all__"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_public_class_and_function_has_a_docstring(path: Path) -> None:
    nodes = ast.parse(path.read_text()).body
    bare = [
        n.name
        for n in nodes
        if isinstance(n, Function | ast.ClassDef) and not n.name.startswith("_") and not ast.get_docstring(n)
    ]
    assert not bare, f"{name(path)}: {bare}"
