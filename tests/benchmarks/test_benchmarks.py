"""The benchmarks run and print what they promise; how fast anything was is not asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ROW = {"case", "subject", "peer", "ratio", "ratio_min", "ratio_max", "rounds", "subject_per_s", "peer_per_s"}


def run(name: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *options]
    around = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=around)


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "with --json there is one object on standard output and nothing else"
    found: dict[str, Any] = json.loads(lines[0])
    assert set(found) == {"benchmark", "environment", "rows"}
    return found


def assert_measured(row: dict[str, Any], rounds: int) -> None:
    assert set(row) == ROW
    assert row["rounds"] == rounds
    assert 0 < row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
    assert row["subject_per_s"] > 0
    assert row["peer_per_s"] > 0


def test_window_prints_a_row_for_each_case_asked_for(tmp_path: Path) -> None:
    stored = tmp_path / "window.json"
    options = ["--quick", "--json", "--case", "E1,E3", "--marks", "20000", "--seconds", "0.01", "--out", str(stored)]
    found = outcome(run("window", *options))
    assert found["benchmark"] == "window"
    assert [row["case"].split()[0] for row in found["rows"]] == ["E1", "E3"]
    for row in found["rows"]:
        assert_measured(row, rounds=3)
    assert json.loads(stored.read_text()) == found
    assert run("table", str(stored)).stdout.count("\n| E") == 2


def test_log_prints_rows_says_where_it_ran_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['lmdb'] = None\n")
    data = tmp_path / "data"
    options = ["--quick", "--fresh", "--json", "--case", "B9,B13,B20", "--seconds", "0.02", "--dir", str(data)]
    # Without lmdb, and without a place to get it from.
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    found = outcome(run("log", *options, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PYTHONPATH=os.pathsep.join(paths)))
    alone, without_peer, reading = found["rows"]
    assert [row["peer"] for row in found["rows"]] == ["raw write+fdatasync", "LMDB", "plain read()"]
    assert_measured(alone, rounds=3)
    assert_measured(reading, rounds=3)
    assert without_peer["ratio"] is None
    assert "lmdb" in without_peer["reason"]
    expected = {"filesystem", "journal", "fdatasync_p50_us", "cpu_count", "python", "loop", "versions", "messages"}
    assert expected <= set(found["environment"])
    assert not list(data.iterdir())


def test_bounds_measure_the_same_goals(tmp_path: Path) -> None:
    options = ["--quick", "--json", "--case", "B4,B9,B21", "--rounds", "1", "--seconds", "0.02", "--dir", str(tmp_path)]
    found = outcome(run("bounds", *options))
    assert [row["case"].split()[0] for row in found["rows"]] == ["B4", "B9", "B21"]
    for row in found["rows"]:
        assert_measured(row, rounds=1)


def test_what_is_possible_is_measured_beside_ours(tmp_path: Path) -> None:
    options = ["--quick", "--case", "B9:least,B21:least", "--rounds", "1", "--seconds", "0.02", "--dir", str(tmp_path)]
    rows = outcome(run("possible", *options, "--json"))["rows"]
    assert [(row["case"].split()[0], row["peer"]) for row in rows] == [
        (number, "the least that Python must do") for number in ("B9:least", "B21:least")
    ]
    for row in rows:
        assert_measured(row, rounds=1)


def test_unknown_case_is_wrong_use() -> None:
    done = run("window", "--case", "E1,E9")
    assert done.returncode == 2
    assert "E9" in done.stderr
    assert "E3" in done.stderr
