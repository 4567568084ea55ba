"""The documentation shows what is stored, and a run that is stored is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.pages import ROOT, block, refresh, shown

STORED = {"benchmark": "engines", "environment": {"cpu_count": 2}, "rows": []}
ROW = {"subject": "evermq", "peer": "aiokafka send()", "rounds": 3, "subject_per_s": 2e5, "peer_per_s": 1e5}
SHOWN = [(page, *each) for page in sorted((ROOT / "docs").rglob("*.md")) for each in shown(page)]


def stored(root: Path, name: str, ratio: float) -> Path:
    path = root / "results" / name
    path.parent.mkdir(exist_ok=True)
    row = {"case": "D3 sent", "ratio": ratio, "ratio_min": ratio, "ratio_max": ratio, **ROW}
    path.write_text(json.dumps({**STORED, "rows": [row]}))
    return path


@pytest.mark.parametrize(("page", "name", "text"), SHOWN, ids=[name for _, name, _ in SHOWN])
def test_page_shows_the_run_that_is_stored(page: Path, name: str, text: str) -> None:
    said = f"python benchmarks/table.py --write {name}"
    assert text == block(ROOT / name), f"{page.relative_to(ROOT)} shows another run of {name}: {said}"


def test_runs_over_engines_are_shown() -> None:
    assert "benchmarks/results/engines.json" in {name for _, name, _ in SHOWN}


def test_run_that_is_stored_is_written_where_its_name_stands(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    mine, other = stored(tmp_path, "mine.json", 2.0), stored(tmp_path, "other.json", 4.0)
    blocks = [f"<!-- run: results/{name}.json -->\nas it was\n<!-- end of the run -->" for name in ("mine", "other")]
    page.write_text("Before.\n\n" + "\n\nbetween\n\n".join(blocks) + "\n\nAfter.\n")
    assert refresh(mine, tmp_path) == [page]
    assert list(shown(page)) == [("results/mine.json", block(mine)), ("results/other.json", "as it was\n")]
    assert "| D3 sent | aiokafka send() | 2 " in page.read_text()
    assert page.read_text().startswith("Before.\n\n<!-- run: results/mine.json -->")
    assert page.read_text().endswith("<!-- end of the run -->\n\nAfter.\n")
    assert refresh(other, tmp_path) == [page]
    assert refresh(stored(tmp_path, "third.json", 1.0), tmp_path) == []
