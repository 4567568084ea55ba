"""The fault matrix as it is stored and shown, and what its rows need."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermq.drills.engines.redis import Redis
from evermq.drills.engines.zookeeper import ZooKeeper
from evermq.drills.faults.rows import ROWS, Engines
from evermq.drills.matrix import COLUMNS, Cell, cells, main
from evermq.errors import Misconfigured

STORED = Path(__file__).parents[2] / "docs" / "internals" / "faults.jsonl"


def test_cell_that_was_held_over_other_engines_is_shown_and_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    older = "kafka-three,redis-sentinel,zookeeper"
    lines = [line for line in STORED.read_text().splitlines() if f'"row":"blind","engines":"{older}"' in line]
    assert lines
    path.write_text("".join(f"{line}\n" for line in lines))
    assert main([str(path), "--page"]) == 0
    page = path.with_suffix(".md").read_text()
    assert f"- **KS**: {COLUMNS['KS'].replace(',', ', ')}" in page
    assert "| PASS |" in page
    assert f"- KS, {older.replace(',', ', ')}: `blind`" in page


def test_every_stored_cell_has_its_place() -> None:
    found: list[Cell] = cells(STORED)
    assert len(found) > 100
    assert {cell.column for cell in found} <= COLUMNS.keys()


def test_majority_of_a_coordinator_that_has_none_cannot_be_taken(tmp_path: Path) -> None:
    alone = Engines(Redis(tmp_path / "redis"), None, ZooKeeper(tmp_path / "zookeeper"), ("redis", "zookeeper"))
    for engines in (alone, alone._replace(coordinator=None)):
        with pytest.raises(Misconfigured, match="give zookeeper-three"):
            ROWS["primary+quorum"].outage("primary+quorum", engines, [], "orders")
