"""The examples run, and so does the README's, as they stand there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHOWN = {
    "any_engine": "billed: a lamp for ann",  # over the log; over servers in tests/engines
    "handler": "tried 3 times, then dead letters: 1",
    "workers": "100 orders were handled, the backlog is 0",
    "delayed": "a reminder",
    "replay": "shipping: ['order 3', 'order 4']",
    "failover": "read from the ('standby',) a lamp",
    "spool": "the remote queue is back and has them: 3",
}


def run(*command: str, cwd: Path = ROOT) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES} == set(SHOWN)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_shows_what_it_is_about(path: Path) -> None:
    assert SHOWN[path.stem] in run(sys.executable, str(path))


def code_of(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def test_ten_lines_of_the_readme_run_as_they_stand_there(tmp_path: Path) -> None:
    shutil.rmtree("/tmp/evermq-readme", ignore_errors=True)
    [code] = code_of(ROOT / "README.md", "python")
    assert len([line for line in code.splitlines() if line]) <= 10
    [translated] = code_of(ROOT / "README.zh.md", "python")
    assert re.sub("#.*", "", translated) == re.sub("#.*", "", code)
    (tmp_path / "ten_lines.py").write_text(code)
    assert run(sys.executable, "ten_lines.py", cwd=tmp_path) == "b'a book'\n"


def test_configuration_in_start_is_one(tmp_path: Path) -> None:
    from evermq.compose.config import load

    [text] = code_of(ROOT / "docs" / "start.md", "toml")
    path = tmp_path / "evermq.toml"
    path.write_text(text)
    assert list(load(path)) == ["orders"]
