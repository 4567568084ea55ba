"""A drill over a user's own configuration: what it judges there, and that it leaves nothing behind."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.drills.ladders import SHORT, ladder

from evermq.adapters.open import open_place
from evermq.drills.conduct import hold
from evermq.drills.own_topic import copy, topic_of
from evermq.drills.removal import remove
from evermq.errors import Misconfigured
from evermq.progress.sql import SqlProgress

pytestmark = pytest.mark.timeout(400)  # of many processes, on a machine that others use as well


async def topics_of(directory: Path) -> list[str]:
    place = await open_place(f"log://{directory}")
    try:
        return await place.topics()
    finally:
        await place.close()


def rows_of(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


async def test_effects_are_judged_in_the_users_database_which_is_left_as_it_was(tmp_path: Path) -> None:
    database = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE drill_effects (number INTEGER PRIMARY KEY, id TEXT)")
        connection.execute("INSERT INTO drill_effects VALUES (1, 'mine')")
        connection.commit()
    config = ladder(tmp_path, progress=f"sqlite:///{database}")
    before = set(tmp_path.iterdir())
    done = await hold(SHORT, topic="orders", config=config, directory=tmp_path / "drills", live=False, order=True)
    figures = done.figures
    assert figures["verdict"] == "PASS", (figures, done.reasons)
    assert figures["handled"] >= figures["acknowledged"] > 200
    assert figures["duplicates_business"] == figures["inversions"] == 0
    assert done.notes == []
    rows = rows_of(database)
    assert rows.pop("drill_effects") == 1
    assert rows.keys() == {f"evermq_{name}" for name in ("states", "settled", "claims", "fresh", "readers")}
    assert set(rows.values()) == {0}
    assert await topics_of(tmp_path / "a") == await topics_of(tmp_path / "b") == []
    assert list((tmp_path / "last" / "slots").iterdir()) == []
    assert list((tmp_path / "last").glob("copies-*/*")) == []
    made = {path.name for path in set(tmp_path.iterdir()) - before}
    assert made - {"shop.sqlite-wal", "shop.sqlite-shm"} == {"a", "b", "last", "drills"}


async def test_where_progress_is_no_database_a_note_says_what_business_doubles_are(tmp_path: Path) -> None:
    config = ladder(tmp_path, progress=f"log://{tmp_path}/progress")
    done = await hold(SHORT, topic="orders", config=config, directory=tmp_path / "drills", live=False)
    assert done.figures["verdict"] == "PASS", (done.figures, done.reasons)
    assert done.figures["inversions"] == 0
    [note] = done.notes
    assert "not effects in a transaction: progress is a log of this host" in note
    assert note in Path(done.figures["report"]).read_text()
    rows = rows_of(tmp_path / "evermq-progress.sqlite")
    assert set(rows.values()) == {0}


async def test_drill_that_is_ended_before_its_time_leaves_nothing_behind_either(tmp_path: Path) -> None:
    database = tmp_path / "shop.sqlite"
    config = ladder(tmp_path, progress=f"sqlite:///{database}")
    drill = asyncio.create_task(hold(SHORT, topic="orders", config=config, directory=tmp_path / "drills", live=False))
    while not (found := list((tmp_path / "drills").glob("*/history-consumer-*.jsonl"))) or not found[0].stat().st_size:
        assert not drill.done(), drill.result()
        await asyncio.sleep(0.05)
    assert [name for name in rows_of(database) if name.startswith("evermq_drill_")]
    drill.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drill
    rows = rows_of(database)
    assert not [name for name in rows if name.startswith("evermq_drill_")]
    assert set(rows.values()) == {0}
    assert await topics_of(tmp_path / "a") == await topics_of(tmp_path / "b") == []
    assert list((tmp_path / "last" / "slots").iterdir()) == []
    assert list((tmp_path / "last").glob("copies-*/*")) == []
    assert not list(tmp_path.glob("switch*"))


async def test_what_cannot_be_removed_is_named_and_the_rest_is_removed(tmp_path: Path) -> None:
    database = tmp_path / "shop.sqlite"
    away = "redis://127.0.0.1:1/orders"
    config = ladder(tmp_path, away, progress=f"sqlite:///{database}")
    copied = copy("orders", config, tmp_path / "copy.toml", "r1")
    topic, groups = topic_of("orders-drill-r1", copied), ("billing-drill-r1",)
    place = await open_place(f"log://{tmp_path}/b")
    await place.create("orders-drill-r1", groups=groups)
    await place.create("orders-drill-r1.billing-drill-r1.dead")
    await place.create("orders-drill-r10", groups=groups)
    await place.create("orders", groups=["billing"])
    for name in ("orders-drill-r1", "orders"):
        progress = SqlProgress(f"sqlite:///{database}", name)
        await (await progress.join("billing")).claim([1])
        await progress.close()
    slot = tmp_path / "last" / "slots" / "orders-drill-r1" / "0"
    slot.mkdir(parents=True)
    [sentence] = await remove(topic, groups)
    assert "redis://127.0.0.1:1/orders-drill-r1 could not be removed" in sentence
    assert sorted(await place.topics()) == ["orders", "orders-drill-r10"]
    assert not slot.parent.exists()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT topic FROM evermq_claims").fetchall() == [("orders",)]
    await place.close()


async def test_order_that_the_topic_does_not_promise_is_refused(tmp_path: Path) -> None:
    config = ladder(tmp_path)
    with pytest.raises(Misconfigured, match='topic orders promises no order: give it order = "key"'):
        await hold(SHORT, topic="orders", config=config, directory=tmp_path / "drills", live=False, order=True)
    assert not list((tmp_path / "drills").iterdir())


async def test_order_that_the_topic_promises_is_not_given_up_for_a_drill(tmp_path: Path) -> None:
    config = ladder(tmp_path, progress=f"sqlite:///{tmp_path}/shop.sqlite")
    with pytest.raises(Misconfigured, match="--no-order: topic orders promises order"):
        await hold(SHORT, topic="orders", config=config, directory=tmp_path / "drills", live=False, order=False)
    assert not list((tmp_path / "drills").iterdir())
