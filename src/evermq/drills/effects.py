"""Effects of messages in the database of `progress`: each in the transaction that settles its message.

A consumer that is killed leaves either both or neither, which is what makes an effect happen once. A run has a table
of its own there, so that it counts no other run's effects, and removes nothing else when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, insert, inspect, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from evermq.errors import Misconfigured, Uncertain
from evermq.port import Delivery
from evermq.progress.database import LONG_MS_MAX, Database, tame, with_driver
from evermq.progress.sql import SqlProgress
from evermq.testing.history import Event, Recorder

__all__ = ["Effects"]

_NAME = 120  # as long as the names of topics and groups may be in the tables of progress


class Effects:
    """Of one run, for one process. url: of a database that `progress` names as well. run: ends the table's name."""

    def __init__(self, url: str, run: str) -> None:
        self._table = _table_of(run)
        self._database = Database(url)
        self._engine = create_async_engine(with_driver(url), pool_pre_ping=True)
        tame(self._engine)
        self._sessions = async_sessionmaker(self._engine)
        self._is_made = False

    @property
    def table(self) -> str:
        """Its name."""
        return self._table.name

    async def make(self) -> None:
        """Make the table, which nobody else has. Raises Denied where this user may make none."""
        if await self._database.run(self._is_there):
            raise Misconfigured(f"table {self.table} is another run's: choose another name for this one")
        self._is_made = True  # perhaps, whatever comes now
        await self._database.run(self._table.create)

    async def take(self, deliveries: Sequence[Delivery], group: str, progress: SqlProgress) -> None:
        """Let these take effect, but those that did already. Raises Fenced where one is another reader's by now: then
        none does; and Unavailable or Uncertain where the database failed: what did take effect does so no more when it
        comes again."""
        try:
            async with self._sessions() as session, session.begin():
                fresh = [each for each in deliveries if await progress.settle(each, session)]
                await self._write(session, fresh, group)
        except (SQLAlchemyError, OSError) as error:
            raise Uncertain(f"the database of effects: {error}") from error

    async def record(self, path: Path) -> None:
        """All effects so far, as a history."""
        rows = await self._database.run(self._read, answer_ms_max=LONG_MS_MAX)
        recorder = Recorder(path)
        recorder.record([Event(t, "handler_ok", id=id, group=group, via=via) for t, id, group, via in rows])
        recorder.close()

    async def drop(self) -> None:
        """Remove the table, if it was made here."""
        if self._is_made:
            await self._database.run(self._drop, answer_ms_max=LONG_MS_MAX)
            self._is_made = False

    async def close(self) -> None:
        await self._engine.dispose()
        await self._database.close()

    async def _write(self, session: AsyncSession, deliveries: Sequence[Delivery], group: str) -> None:
        if deliveries:
            t = time.monotonic_ns()
            places = [(each.message.id, "/".join(each.position.via)) for each in deliveries]
            rows = [{"t": t, "id": id, "grp": group, "via": via} for id, via in places]
            await session.execute(insert(self._table), rows)

    def _is_there(self, connection: Connection) -> bool:
        return inspect(connection).has_table(self.table)

    def _read(self, connection: Connection) -> list[tuple[int, str, str, str]]:
        columns = self._table.c
        query = select(columns.t, columns.id, columns.grp, columns.via).order_by(columns.number)
        return [(t, id, group, via) for t, id, group, via in connection.execute(query)]

    def _drop(self, connection: Connection) -> None:
        self._table.drop(connection, checkfirst=True)


def _table_of(run: str) -> Table:
    return Table(
        f"evermq_drill_{run}",
        MetaData(),
        Column("number", Integer, primary_key=True),
        Column("t", BigInteger, nullable=False),
        Column("id", String(_NAME), nullable=False),
        Column("grp", String(_NAME), nullable=False),
        Column("via", String(_NAME), nullable=False),
    )
