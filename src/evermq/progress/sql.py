"""Progress in a SQL database, where it can be settled in the handler's own transaction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

from sqlalchemy import and_, bindparam, delete, event, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from evermq.clock import SYSTEM, Clock
from evermq.errors import Fenced, Misconfigured, Unavailable, Uncertain
from evermq.port import Delivery
from evermq.progress.tables import claims, metadata, put, put_new, readers, settled, states
from evermq.settled import Settled
from evermq.settling import Held, Renewed, Report, States

__all__ = ["SqlPart", "SqlProgress"]

_SILENT_MS_MAX = 5_000
_ASYNC = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "mysql": "mysql+asyncmy"}
_ASYNC["mariadb"] = "mariadb+asyncmy"


class SqlProgress:
    """See `Progress`. url: as SQLAlchemy writes it; where it names no driver, an asynchronous one is taken.

    silent_ms_max: a reader that is silent for so long, as others of its group see it by their own clocks, loses what it
    has claimed. The tables are made where they are missing; `evermq_` begins their names.
    """

    def __init__(self, url: str, topic: str, *, silent_ms_max: int = _SILENT_MS_MAX, clock: Clock = SYSTEM) -> None:
        self.topic = topic
        self.silent_ms_max = silent_ms_max
        self.clock = clock
        self.engine = _engine(url)
        self._made: asyncio.Task[None] | None = None

    async def join(self, group: str) -> SqlPart:
        if self._made is None or (self._made.done() and self._made.exception()):
            self._made = asyncio.create_task(self._make())
        await asyncio.shield(self._made)
        part = SqlPart(self, group, self.clock.token())
        await part.renew(Report())
        return part

    async def settle(self, delivery: Delivery, session: AsyncSession) -> bool:
        """Settle a delivery in the transaction of its handler; False: it was settled before, so do nothing more.

        Call it before the commit, in the database of `progress`, and acknowledge after it. Raises Fenced where the
        delivery is another reader's by now: roll back. A delivery without a number, of a foreign sender, passes."""
        ticket = delivery.receipt
        if ticket.lane is None:
            return True
        if not ticket.is_live:
            raise Fenced(f"lane {ticket.lane.number} was another reader's since")
        part = cast("SqlPart", ticket.lane.part)
        try:
            return await part.record(session, ticket.lane.number, ticket.stream.name, ticket.seq)
        except Fenced:
            ticket.lane.is_doubted = True
            raise

    async def close(self) -> None:
        await self.engine.dispose()

    async def _make(self) -> None:
        for attempt in range(3):  # another process may be making them
            try:
                async with self.transaction() as connection:
                    await connection.run_sync(metadata.create_all)
                return
            except (Unavailable, Uncertain):
                if attempt == 2:
                    raise
                await self.clock.sleep(100)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Raises Unavailable where the database does not answer."""
        try:
            async with self.engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, DBAPIError, OSError) as error:
            raise Unavailable(f"progress: {_said(error)}") from error


class SqlPart:
    """See `Part`."""

    def __init__(self, progress: SqlProgress, group: str, reader: str) -> None:
        self._progress = progress
        self._clock = progress.clock
        self._own = {"topic": progress.topic, "grp": group}
        self._reader = reader
        self._beat = 0
        self._seen: dict[str, tuple[int, int]] = {}  # of other readers: their last beat, and when it changed
        self._left = False
        self._is_there = False  # has a row among the readers, unless others took it for gone

    async def claim(self, lanes: Collection[int]) -> States:
        if not lanes:
            return {}
        if not self._is_there:
            raise Unavailable("this reader lost its lanes, and has to be heard of again before it claims others")
        async with self._progress.transaction() as connection:
            mine, free, held, asked = await self._who_has(connection, lanes)
            beats = await self._beats(connection) if held else {}
            for lane, owner in held.items():
                if await self._end(connection, owner, beats):
                    (mine if await self._take(connection, lane, owner) else set()).add(lane)
                elif asked[lane] is None or self._is_gone(asked[lane], beats):
                    await connection.execute(self._claim_of(lane).values(asking=self._reader))
            for lane in free:
                row = {**self._own, "lane": lane, "owner": self._reader, "asking": None}
                if (await connection.execute(put_new(claims, connection.dialect), row)).rowcount:
                    mine.add(lane)
            return await self._states(connection, mine)

    async def give_back(self, lanes: Collection[int]) -> None:
        if not lanes:
            return
        async with self._progress.transaction() as connection:
            await self._give_back(connection, lanes)

    async def settle(self, found: States) -> None:
        rows = [
            {**self._own, "stream": stream, "lane": lane, "state": state}
            for lane, streams in found.items()
            for stream, state in streams.items()
        ]
        if not rows:
            return
        async with self._progress.transaction() as connection:
            await self._check_claims(connection, set(found))
            await connection.execute(put(states, connection.dialect, "lane", "state"), rows)
            below = [{"s": row["stream"], "n": Settled.unpack(str(row["state"])).next} for row in rows]
            await connection.execute(_forget(self._own), below)

    async def look(self, lanes: Collection[int]) -> States:
        async with self._progress.transaction() as connection:
            return await self._states(connection, lanes)

    async def renew(self, report: Report) -> Renewed:
        self._beat += 1
        row = {**self._own, "reader": self._reader, "beat": self._beat, "report": _dump(report)}
        async with self._progress.transaction() as connection:
            await self._show(connection, row)
            everybody = (await connection.execute(select(readers).where(self._mine(readers)))).all()
            asked = select(claims.c.lane, claims.c.asking).where(
                self._mine(claims), claims.c.owner == self._reader, claims.c.asking.is_not(None)
            )
            wanted = (await connection.execute(asked)).all()
        beats = {each.reader: each.beat for each in everybody}
        self._look_at(beats)
        alive = [each for each in everybody if not self._is_gone(each.reader, beats)]
        lanes = frozenset(lane for lane, asking in wanted if not self._is_gone(asking, beats))
        return Renewed(lanes, tuple(_load(each.report) for each in alive))

    async def leave(self) -> None:
        if self._left:
            return
        self._left = True
        async with self._progress.transaction() as connection:
            lanes = select(claims.c.lane).where(self._mine(claims), claims.c.owner == self._reader)
            await self._give_back(connection, (await connection.execute(lanes)).scalars().all())
            await connection.execute(delete(readers).where(self._mine(readers), readers.c.reader == self._reader))

    async def record(self, session: AsyncSession, lane: int, stream: str, seq: int) -> bool:
        """One number is settled in a transaction of the handler; False if it was already. Raises Fenced."""
        connection = await session.connection()
        await self._check_claims(connection, {lane})
        row = {**self._own, "stream": stream, "seq": seq, "lane": lane}
        return bool((await connection.execute(put_new(settled, connection.dialect), row)).rowcount)

    async def _check_claims(self, connection: AsyncConnection, lanes: set[int]) -> None:
        held = select(claims.c.lane).where(self._mine(claims), claims.c.lane.in_(lanes), claims.c.owner == self._reader)
        # Locked until the commit, so that nobody takes the lane over in between.
        found = set((await connection.execute(held.with_for_update())).scalars())
        if lanes - found:
            raise Fenced(f"lanes {sorted(lanes - found)} are another reader's by now")

    async def _who_has(
        self, connection: AsyncConnection, lanes: Collection[int]
    ) -> tuple[set[int], set[int], dict[int, str], dict[int, str | None]]:
        query = select(claims).where(self._mine(claims), claims.c.lane.in_(lanes)).with_for_update()
        rows = (await connection.execute(query)).all()
        mine = {row.lane for row in rows if row.owner == self._reader}
        held = {row.lane: row.owner for row in rows if row.owner != self._reader}
        return mine, set(lanes) - mine - held.keys(), held, {row.lane: row.asking for row in rows}

    async def _take(self, connection: AsyncConnection, lane: int, owner: str) -> bool:
        take = self._claim_of(lane).where(claims.c.owner == owner).values(owner=self._reader, asking=None)
        return bool((await connection.execute(take)).rowcount)

    async def _give_back(self, connection: AsyncConnection, lanes: Collection[int]) -> None:
        """Whoever asked has the lane from now on."""
        if not lanes:
            return
        mine = and_(self._mine(claims), claims.c.lane.in_(lanes), claims.c.owner == self._reader)
        nobody = claims.c.asking.is_(None) | (claims.c.asking == self._reader)
        await connection.execute(delete(claims).where(mine, nobody))
        await connection.execute(update(claims).where(mine).values(owner=claims.c.asking, asking=None))

    async def _states(self, connection: AsyncConnection, lanes: Collection[int]) -> States:
        found: dict[int, dict[str, Settled]] = {lane: {} for lane in lanes}
        if not found:
            return {}
        for row in await connection.execute(select(states).where(self._mine(states), states.c.lane.in_(lanes))):
            found[row.lane][row.stream] = Settled.unpack(row.state)
        query = select(settled).where(self._mine(settled), settled.c.lane.in_(lanes)).order_by(settled.c.seq)
        for row in await connection.execute(query):
            found[row.lane].setdefault(row.stream, Settled(floor=row.seq)).add(row.seq)
        return {lane: {name: each.pack() for name, each in streams.items()} for lane, streams in found.items()}

    def _claim_of(self, lane: int) -> Any:
        return update(claims).where(self._mine(claims), claims.c.lane == lane)

    def _mine(self, table: Any) -> Any:
        return and_(table.c.topic == self._own["topic"], table.c.grp == self._own["grp"])

    async def _show(self, connection: AsyncConnection, row: dict[str, Any]) -> None:
        """Raises Fenced where the row is gone, which others remove when they take over what this reader had."""
        if not self._is_there:
            await connection.execute(put(readers, connection.dialect, "beat", "report"), row)
            self._is_there = True
            return
        mine = update(readers).where(self._mine(readers), readers.c.reader == self._reader)
        if not (await connection.execute(mine.values(beat=row["beat"], report=row["report"]))).rowcount:
            self._is_there = False
            raise Fenced("this reader was silent for so long that others took its lanes")

    async def _beats(self, connection: AsyncConnection) -> dict[str, int]:
        """Of all readers, as they are now: what was seen last may be old, where this one stood still itself."""
        found = await connection.execute(select(readers.c.reader, readers.c.beat).where(self._mine(readers)))
        beats = {row.reader: row.beat for row in found}
        self._look_at(beats)
        return beats

    async def _end(self, connection: AsyncConnection, reader: str, beats: dict[str, int]) -> bool:
        """Whether a reader is gone; it hears of that should it speak again."""
        if not self._is_gone(reader, beats):
            return False
        if reader in beats:
            row = and_(self._mine(readers), readers.c.reader == reader, readers.c.beat == beats[reader])
            if not (await connection.execute(delete(readers).where(row))).rowcount:
                return False  # it just spoke
            del beats[reader]
        return True

    def _look_at(self, beats: dict[str, int]) -> None:
        now_ms = self._clock.monotonic_ms()
        before, self._seen = self._seen, {}
        for reader, beat in beats.items():
            known, since_ms = before.get(reader, (-1, now_ms))
            self._seen[reader] = (beat, since_ms if known == beat else now_ms)

    def _is_gone(self, reader: str | None, beats: dict[str, int]) -> bool:
        """Whether a reader has left, or its beat stands still."""
        if reader == self._reader:
            return False
        if reader not in beats:
            return True
        return self._clock.monotonic_ms() - self._seen[reader][1] > self._progress.silent_ms_max


def _forget(own: dict[str, str]) -> Any:
    return delete(settled).where(
        settled.c.topic == own["topic"],
        settled.c.grp == own["grp"],
        settled.c.stream == bindparam("s"),
        settled.c.seq < bindparam("n"),
    )


def _dump(report: Report) -> str:
    return json.dumps({"at": dict(report.at), "held": [list(each) for each in report.held]})


def _load(text: str) -> Report:
    content = json.loads(text)
    return Report(content["at"], [Held(*each) for each in content["held"]])


def _said(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]


def _engine(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
        if parsed.drivername in _ASYNC:
            parsed = parsed.set(drivername=_ASYNC[parsed.drivername])
        engine = create_async_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise Misconfigured(f"progress = {_without_password(url)!r}: {_said(error)}") from error
    if parsed.get_backend_name() == "sqlite":
        _tame_sqlite(engine)
    return engine


def _without_password(url: str) -> str:
    try:
        parsed: URL = make_url(url)
        return parsed.render_as_string(hide_password=True)
    except ArgumentError:
        return "an URL that is none"


def _tame_sqlite(engine: AsyncEngine) -> None:
    """Writers wait for each other from the start of a transaction: one that only finds out when it writes fails. What
    a power loss takes is handled again; a kill takes nothing."""

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA busy_timeout = 10000")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
