"""The fault matrix as it is stored and shown, and what its rows need."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from evermq.drills.engines import packages
from evermq.drills.engines.redis import Redis
from evermq.drills.engines.zookeeper import ZooKeeper
from evermq.drills.faults.rows import ROWS, Engines
from evermq.drills.matrix import COLUMNS, Cell, cells, main, missing
from evermq.drills.matrix_page import page
from evermq.errors import Misconfigured

ROOT = Path(__file__).parents[2]
STORED = ROOT / "docs" / "internals" / "faults.jsonl"


def test_cell_that_was_held_over_other_engines_is_shown_and_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    older = "kafka-three,redis-sentinel,zookeeper"
    lines = [line for line in STORED.read_text().splitlines() if f'"row":"blind","engines":"{older}"' in line]
    assert lines
    path.write_text("".join(f"{line}\n" for line in lines))
    assert main([str(path), "--page"]) == 0
    shown = path.with_suffix(".md").read_text()
    assert f"- **KS**: {COLUMNS['KS'].replace(',', ', ')}" in shown
    assert "| PASS |" in shown
    assert f"- KS, {older.replace(',', ', ')}: `blind`" in shown


def test_majority_of_a_coordinator_that_has_none_cannot_be_taken(tmp_path: Path) -> None:
    alone = Engines(Redis(tmp_path / "redis"), (), ZooKeeper(tmp_path / "zookeeper"), ("redis", "zookeeper"))
    for engines in (alone, alone._replace(coordinator=None)):
        with pytest.raises(Misconfigured, match="give zookeeper-three"):
            ROWS["primary+quorum"].outage("primary+quorum", engines, [], "orders")


def cell(row: str = "kill", verdict: str = "PASS", **versions: str) -> Cell:
    return Cell("RS", row, COLUMNS["RS"], 1, "", "0.1.0", verdict, {}, versions=versions)


def stored(path: Path, *found: Cell) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in found))
    return path


def test_results_that_are_kept_here_can_all_be_read() -> None:
    found = cells(STORED)
    assert len(found) > 100
    assert {each.column for each in found} <= COLUMNS.keys()
    assert all(each.evermq for each in found)


def test_result_from_before_versions_were_kept_has_none(tmp_path: Path) -> None:
    path = stored(tmp_path / "faults.jsonl", cell())
    old = msgspec.json.decode(path.read_bytes())
    del old["versions"]
    path.write_bytes(msgspec.json.encode(old) + b"\n")
    assert cells(path) == [cell()]


def test_drill_that_did_not_pass_is_held_again_until_it_does(tmp_path: Path) -> None:
    first = [cell("kill", "INVALID"), cell("stop", "FAIL"), cell("cut"), cell("freeze", "FAIL")]
    rows = ("kill", "stop", "cut", "freeze", "slow")
    path = stored(tmp_path / "faults.jsonl", *first, cell("stop"), cell("freeze", "INVALID"))
    assert missing(cells(path), "RS", rows) == ["kill", "freeze", "slow"]
    assert missing(cells(path), "MS", rows) == list(rows)


def test_row_that_does_not_fit_the_engines_is_never_missing() -> None:
    assert missing([], "KL", ("kill", "bridge")) == ["bridge"]
    assert missing([], "RS", ("kill", "bridge")) == ["kill"]


@pytest.mark.parametrize(("tests", "matrix"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_make_chaos_holds_the_matrix_also_after_a_test_has_failed_and_fails(
    tmp_path: Path, tests: int, matrix: int
) -> None:
    for name, status in (("pytest", tests), ("python", matrix)):
        program = tmp_path / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho ran {name}\nexit {status}\n")
        program.chmod(0o755)
    setup = tmp_path / "tools" / "setup"
    setup.parent.mkdir()
    setup.write_text("#!/bin/sh\n")
    setup.chmod(0o755)
    make = ["make", "-f", str(ROOT / "Makefile"), "chaos"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "ran pytest" in done.stdout
    assert "ran python" in done.stdout
    assert bool(done.returncode) == bool(tests or matrix)


def test_page_names_every_version_that_was_seen() -> None:
    found = [cell("kill", redis="7.0.15"), cell("stop", redis="8.0.1", rabbitmq="3.10.8"), cell("cut")]
    made = page(found, [("RS", COLUMNS["RS"])], ("kill", "stop", "cut"))
    assert "evermq 0.1.0, rabbitmq 3.10.8, redis 7.0.15 and 8.0.1." in made


def test_version_is_the_number_that_a_program_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "some-server"
    program.write_text('#!/bin/sh\necho "Some server v=7 7.0.15-2+deb sha=1.2 $1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert packages.version_told("some-server", "--version") == "7.0.15"
    program.write_text("#!/bin/sh\necho none; exit 1\n")
    assert packages.version_told("some-server") == packages.version_told("no-such-program") == ""
