"""Progress in a SQL database, where it can be settled in the handler's own transaction."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import cast

from sqlalchemy import delete, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from evermq.clock import SYSTEM, Clock
from evermq.errors import Fenced, Misconfigured, Unavailable, Uncertain
from evermq.port import Delivery
from evermq.progress.database import LONG_MS_MAX, Database, unavailable
from evermq.progress.part import SqlPart
from evermq.progress.tables import NAME_CHARS_MAX, metadata
from evermq.settling import Report

__all__ = ["SqlProgress"]

_SILENT_MS_MAX = 5_000
_ABORTED = "25P02"  # https://www.postgresql.org/docs/current/errcodes-appendix.html


class SqlProgress:
    """See `Progress`. url: as SQLAlchemy writes it; where it names no driver, an asynchronous one is taken.

    silent_ms_max: a reader that is silent for so long, as others of its group see it by their own clocks, loses what it
    has claimed. The tables are made where they are missing; `evermq_` begins their names. Names of topics and groups
    have 120 characters at most, but in SQLite. Raises Misconfigured.
    """

    def __init__(self, url: str, topic: str, *, silent_ms_max: int = _SILENT_MS_MAX, clock: Clock = SYSTEM) -> None:
        self.topic = topic
        self.silent_ms_max = silent_ms_max
        self.clock = clock
        self.database = Database(url)
        self._check("topic", topic)
        self._made: asyncio.Task[None] | None = None

    async def join(self, group: str) -> SqlPart:
        self._check("group", group)
        if self._made is None or (self._made.done() and self._made.exception()):
            self._made = asyncio.create_task(self._make())
        await asyncio.shield(self._made)
        part = SqlPart(self.database, self.topic, group, silent_ms_max=self.silent_ms_max, clock=self.clock)
        await part.renew(Report())
        return part

    async def settle(self, delivery: Delivery, session: AsyncSession) -> bool:
        """Settle a delivery in the transaction of its handler; False: it was settled before, so do nothing more.

        Call it before the commit, in the database of `progress`, and acknowledge after it. Raises Fenced where the
        delivery is another reader's by now, or was given back, which may have been while this waited for the database:
        roll back; Unavailable where the database failed, whatever it said; and Misconfigured where the session would
        not undo it with the rest. A delivery without a number, of a foreign sender, passes."""
        ticket = delivery.receipt
        if ticket.lane is None:
            return True
        part = cast(SqlPart, ticket.lane.part)
        try:
            return await part.record(session, ticket.lane.number, ticket.stream.name, ticket.seq, ticket.is_due)
        except Fenced:
            # Of one that was given back, or that came before the lane was lost, nothing is known of the lane as it is.
            ticket.lane.is_doubted |= ticket.is_live and ticket.is_out
            raise
        except (DBAPIError, PoolTimeout, OSError) as error:
            if getattr(getattr(error, "orig", None), "sqlstate", None) == _ABORTED:
                raise  # by what the handler did before
            raise unavailable(error) from error

    async def drop(self, group: str = "") -> None:
        """Remove what is kept of the topic, of this group or of all; the tables stay. For what is read no more."""
        await self.database.run(partial(self._drop, group), answer_ms_max=LONG_MS_MAX)

    async def close(self) -> None:
        await self.database.close()

    def _check(self, what: str, name: str) -> None:
        if self.database.has_lengths and len(name) > NAME_CHARS_MAX:
            raise Misconfigured(
                f"{what} {name!r} has {len(name)} characters: progress in this database takes {NAME_CHARS_MAX} at most"
            )

    def _drop(self, group: str, connection: Connection) -> None:
        for table in metadata.sorted_tables:
            if inspect(connection).has_table(table.name):
                of_group = [table.c.grp == group] if group else []
                connection.execute(delete(table).where(table.c.topic == self.topic, *of_group))

    async def _make(self) -> None:
        for attempt in range(3):  # another process may be making them
            try:
                return await self.database.run(metadata.create_all, answer_ms_max=LONG_MS_MAX)
            except (Unavailable, Uncertain):
                if attempt == 2:
                    raise
                await self.clock.sleep(100)
        return None
