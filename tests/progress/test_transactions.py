"""The transaction of a handler that settles a number: whatever its session is, the mark goes with the effect."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from evermq.errors import Misconfigured
from evermq.progress.database import tame
from evermq.progress.part import SqlPart
from evermq.progress.sql import SqlProgress


class Shop:
    """A reader that has lane 1, and the database of its handlers."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "progress"
        self.progress = SqlProgress(f"sqlite:///{self.file}", "orders")
        self.part: SqlPart

    def engine(self, **options: Any) -> AsyncEngine:
        return create_async_engine(f"sqlite+aiosqlite:///{self.file}", **options)

    def marks(self) -> int:
        with sqlite3.connect(self.file) as connection:
            return int(connection.execute("SELECT count(*) FROM evermq_settled").fetchone()[0])


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = Shop(tmp_path)
    made.part = await made.progress.join("g")
    await made.part.claim([1])
    yield made
    await made.progress.close()


async def fails(shop: Shop, engine: AsyncEngine, *, in_savepoint: bool) -> None:
    """A handler settles, and fails."""
    try:
        async with AsyncSession(engine) as session:
            if in_savepoint:
                async with session.begin_nested():
                    assert await shop.part.record(session, 1, "s.1", 1)
            else:
                assert await shop.part.record(session, 1, "s.1", 1)
            await session.execute(text("SELECT 1"))
    finally:
        await engine.dispose()
    assert shop.marks() == 0


@pytest.mark.parametrize("in_savepoint", [False, True], ids=["plain", "savepoint"])
async def test_mark_goes_with_the_rest_where_the_engine_was_prepared(shop: Shop, in_savepoint: bool) -> None:
    engine = shop.engine()
    tame(engine)
    await fails(shop, engine, in_savepoint=in_savepoint)


async def test_mark_goes_with_the_rest_of_a_plain_session(shop: Shop) -> None:
    await fails(shop, shop.engine(), in_savepoint=False)


async def test_savepoint_of_a_plain_engine_is_refused(shop: Shop) -> None:
    with pytest.raises(Misconfigured, match=r"savepoint .*database\.tame"):
        await fails(shop, shop.engine(), in_savepoint=True)
    assert shop.marks() == 0


@pytest.mark.parametrize("in_savepoint", [False, True], ids=["plain", "savepoint"])
async def test_session_that_commits_each_statement_is_refused(shop: Shop, in_savepoint: bool) -> None:
    with pytest.raises(Misconfigured, match="settle: "):
        await fails(shop, shop.engine(isolation_level="AUTOCOMMIT"), in_savepoint=in_savepoint)
    assert shop.marks() == 0


@pytest.mark.parametrize("is_tame", [False, True], ids=["plain", "prepared"])
async def test_nobody_takes_the_lane_over_between_the_look_at_its_claim_and_the_mark(shop: Shop, is_tame: bool) -> None:
    engine, tries = shop.engine(), 0
    if is_tame:
        tame(engine)

    def take_over(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal tries
        if "INSERT INTO evermq_settled" in statement:
            other = sqlite3.connect(shop.file, timeout=0)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("UPDATE evermq_claims SET owner = 'another'")
            other.close()
            tries += 1

    event.listen(engine.sync_engine, "before_cursor_execute", take_over)
    async with AsyncSession(engine) as session:
        assert await shop.part.record(session, 1, "s.1", 1)
        await session.commit()
    await engine.dispose()
    assert tries == shop.marks() == 1
