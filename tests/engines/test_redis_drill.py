"""Drills over a user's topic in a real Redis, two at a time: neither meets the other, and the topic is as it was."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.drills.ladders import SHORT, ladder

from evermq.adapters.open import open_place, open_queue
from evermq.drills.conduct import hold
from evermq.drills.engines.engine import Engine
from evermq.message import MessageFactory

GENTLE = replace(SHORT, rate=60)  # the two share one SQLite, and a machine with other tests


async def test_two_drills_at_a_time_and_the_users_topic_do_not_meet(redis_server: Engine, tmp_path: Path) -> None:
    place = await open_place(redis_server.url(""))
    await place.create("orders", groups=("billing",), lanes=4)
    mine = await open_queue(redis_server.url("orders"))
    sent = [MessageFactory()(b"mine", key="k") for _ in range(3)]
    await mine.append(sent)
    topics = set(await place.topics())
    database = tmp_path / "shop.sqlite"
    config = ladder(tmp_path, f"{redis_server.url('orders')}?lanes=4", progress=f"sqlite:///{database}")
    held = await asyncio.gather(
        *(
            hold(GENTLE, topic="orders", config=config, directory=tmp_path / f"drills-{n}", live=False, order=True)
            for n in range(2)
        )
    )
    for each in held:
        assert each.figures["verdict"] == "PASS", (each.figures, each.reasons)
        assert each.fault == "cut"
        assert each.figures["phantom"] == each.figures["duplicates_business"] == 0
        assert each.notes == []
    assert set(await place.topics()) == topics
    reader = await mine.reader("billing")
    assert [each.message.id for each in await reader.read(count_max=9, wait_ms=5_000)] == [each.id for each in sent]
    with closing(sqlite3.connect(database)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert not [name for name in names if name.startswith("evermq_drill_")]
        assert all(not connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names)
    assert not list(tmp_path.glob("switch*"))
    await reader.close()
    await mine.close()
    await place.close()
