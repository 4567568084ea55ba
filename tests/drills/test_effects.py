"""Effects in a database: of one run alone, and once also where nobody heard that they were committed."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection
from tests.drills.ladders import ladder

from evermq.compose.build import open as open_topic
from evermq.drills import load_roles
from evermq.drills.effects import Effects
from evermq.drills.load import make
from evermq.drills.load_roles import Plan, consumer
from evermq.errors import Misconfigured, Unavailable
from evermq.message import MessageFactory
from evermq.testing.history import Event
from evermq.testing.history import load as load_history

GROUP = "billing"


class LostAnswers:
    """Commits of the drill's effects are carried out, and their answers do not arrive, while `are_lost`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.are_lost = True
        self.count = 0
        commit = AsyncAdapt_aiosqlite_connection.commit

        def committed(connection: AsyncAdapt_aiosqlite_connection) -> None:
            commit(connection)
            if self.are_lost:
                self.count += 1
                raise sqlite3.OperationalError("the answer to COMMIT was lost")

        monkeypatch.setattr(AsyncAdapt_aiosqlite_connection, "commit", committed)


async def effects_of(effects: Effects, path: Path) -> list[Event]:
    path.unlink(missing_ok=True)
    await effects.record(path)
    return load_history([path])


async def test_effects_whose_commit_was_not_answered_come_again_and_exist_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = f"sqlite:///{tmp_path}/progress.sqlite"
    config = ladder(tmp_path, progress=database)
    await make("orders", config, [GROUP])
    effects = Effects(database, "r1")
    await effects.make()
    Plan("orders", str(config), 1, 1, 1, 1, effects=database, run="r1").write(tmp_path)
    queue: Any = await open_topic("orders", config)
    sent = [MessageFactory()(b"x", key="k") for _ in range(20)]
    await queue.append(sent)
    answers, stopped = LostAnswers(monkeypatch), asyncio.Event()
    monkeypatch.setattr(load_roles, "_stopped", lambda: stopped)
    consuming = asyncio.create_task(consumer(tmp_path, "consumer-billing-0", GROUP))
    while answers.count < 3 or len(await effects_of(effects, tmp_path / "seen.jsonl")) < len(sent):
        await asyncio.sleep(0.05)
    said = capsys.readouterr().out
    assert "the answer to COMMIT was lost" in said
    assert '"handled": 0' in said
    assert await queue.backlog(GROUP) == len(sent)  # every effect is there, and nobody knows of any
    answers.are_lost = False
    while await queue.backlog(GROUP):
        await asyncio.sleep(0.05)
    stopped.set()
    await consuming
    assert f'"handled": {len(sent)}' in capsys.readouterr().out
    came = [event.id for event in load_history([tmp_path / "history-consumer-billing-0.jsonl"])]
    assert all(came.count(message.id) > 1 for message in sent)
    assert [event.id for event in await effects_of(effects, tmp_path / "seen.jsonl")] == [m.id for m in sent]
    await queue.close()
    await effects.close()


async def test_each_run_has_effects_of_its_own_and_removes_no_others(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/progress.sqlite"
    config = ladder(tmp_path, progress=database)
    queue: Any = await open_topic("orders", config)
    sent = [MessageFactory()(b"x", key="k") for _ in range(4)]
    await queue.append(sent)
    one, other = Effects(database, "r1"), Effects(database, "r2")
    await one.make()
    await other.make()
    for effects, group in ((one, "billing"), (other, "audit")):
        reader = await queue.reader(group)
        await effects.take(await reader.read(count_max=4, wait_ms=5_000), group, queue.progress)
        await reader.close()
    for effects, group in ((one, "billing"), (other, "audit")):
        found = await effects_of(effects, tmp_path / "seen.jsonl")
        assert [(event.id, event.group) for event in found] == [(message.id, group) for message in sent]
    await one.drop()
    assert len(await effects_of(other, tmp_path / "seen.jsonl")) == len(sent)
    with pytest.raises(Unavailable, match="no such table: evermq_drill_r1"):
        await one.record(tmp_path / "gone.jsonl")
    for each in (one, other, queue):
        await each.close()


async def test_table_that_is_there_already_is_not_taken_and_not_removed(tmp_path: Path) -> None:
    database = tmp_path / "progress.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE evermq_drill_r1 (id TEXT)")
    effects = Effects(f"sqlite:///{database}", "r1")
    with pytest.raises(Misconfigured, match="another run's"):
        await effects.make()
    await effects.drop()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM evermq_drill_r1").fetchone() == (0,)
    await effects.close()
