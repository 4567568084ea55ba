"""Effects of messages in the database of `progress`: each in the transaction that settles its message.

A consumer that is killed leaves either both or neither, which is what makes an effect happen once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from evermq.errors import Uncertain
from evermq.port import Delivery
from evermq.progress.database import tame, with_driver
from evermq.progress.sql import SqlProgress
from evermq.testing.history import Event, Recorder

__all__ = ["Effects"]

_effects = Table(
    "drill_effects",
    MetaData(),
    Column("number", Integer, primary_key=True),
    Column("t", BigInteger, nullable=False),
    Column("id", String(100), nullable=False),
    Column("grp", String(100), nullable=False),
    Column("via", String(100), nullable=False),
)


class Effects:
    """For one process. url: of a database that `progress` names as well."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(with_driver(url), pool_pre_ping=True)
        if self._engine.dialect.name == "sqlite":
            tame(self._engine.sync_engine)
        self._sessions = async_sessionmaker(self._engine)

    async def make(self) -> None:
        """Make the table where it is missing."""
        async with self._engine.begin() as connection:
            await connection.run_sync(_effects.metadata.create_all)

    async def take(self, deliveries: Sequence[Delivery], group: str, progress: SqlProgress) -> None:
        """Let these take effect, but those that did already. Raises Fenced where one is another reader's by now: then
        none does; and Uncertain where the database failed: what did take effect does so no more when it comes again."""
        try:
            async with self._sessions() as session, session.begin():
                fresh = [each for each in deliveries if await progress.settle(each, session)]
                await _write(session, fresh, group)
        except (SQLAlchemyError, OSError) as error:
            raise Uncertain(f"the database of effects: {error}") from error

    async def record(self, path: Path) -> None:
        """All effects so far, as a history."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(select(_effects).order_by(_effects.c.number))).all()
        recorder = Recorder(path)
        recorder.record([Event(t, "handler_ok", id=id, group=group, via=via) for _, t, id, group, via in rows])
        recorder.close()

    async def close(self) -> None:
        await self._engine.dispose()


async def _write(session: AsyncSession, deliveries: Sequence[Delivery], group: str) -> None:
    if deliveries:
        t = time.monotonic_ns()
        places = [(each.message.id, "/".join(each.position.via)) for each in deliveries]
        await session.execute(insert(_effects), [{"t": t, "id": id, "grp": group, "via": via} for id, via in places])
