"""The database of progress: whole transactions at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from evermq.errors import Denied, EvermqError, Misconfigured, Unavailable, Uncertain

__all__ = ["LONG_MS_MAX", "Database", "is_tame", "tame", "unavailable", "with_driver"]

T = TypeVar("T")
LONG_MS_MAX = 60_000  # for what reads or removes much, and nothing waits for
_ANSWER_MS_MAX = 5_000  # for a whole transaction
_END_MS_MAX = 3_000  # for a driver to let go of a connection over which nothing comes
_ASYNC = {
    "postgresql": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
    "sqlite": "sqlite+aiosqlite",
}

# No such user, password, right or database. SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html,
# and numbers of https://mariadb.com/kb/en/mariadb-error-code-reference/
_DENIED = frozenset({"28000", "28P01", "42501", "3D000", 1044, 1045, 1049, 1142, 1227})
_READ_ONLY = frozenset({"25006", 1290, 1836})
_TAME = "evermq_tame"


class Database:
    """url: as SQLAlchemy writes it; where it names no driver, an asynchronous one is taken. Raises Misconfigured.

    SQLite has a thread of its own here, which does a transaction in one go: an asynchronous driver would change threads
    at every step of it. Over a network a transaction is given up that does not end in time, with its connection: a
    server that stands still, or a host that is gone without a word, says nothing.
    """

    def __init__(self, url: str) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._own: Engine | None = None
        self._shared: AsyncEngine | None = None
        self._given_up: set[asyncio.Task[Any]] = set()
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite":
                self._own = create_engine(parsed.set(drivername="sqlite"))
                tame(self._own)
            else:
                parsed = with_driver(parsed)
                # Not MySQL's own level, which locks the gaps where rows are missing: readers would end each other.
                self._shared = create_async_engine(parsed, pool_pre_ping=True, isolation_level="READ COMMITTED")
                tame(self._shared)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise Misconfigured(f"progress = {_without_password(url)!r}: {_said(error)}") from error

    @property
    def has_lengths(self) -> bool:
        """Whether it takes no longer texts than its columns say."""
        return self._own is None

    async def run(self, work: Callable[[Connection], T], *, answer_ms_max: int = _ANSWER_MS_MAX) -> T:
        """Do this in a transaction. Raises Unavailable where the database does not answer, Uncertain where it did not
        say whether it was done, Denied where it refuses this user. answer_ms_max: does not hold for SQLite."""
        is_worked = False

        def marked(connection: Connection) -> T:
            nonlocal is_worked
            result = work(connection)
            is_worked = True
            return result

        try:
            if self._shared:
                return await self._ended(self._transact_shared(self._shared, marked), answer_ms_max)
            return await self._run_in_thread(marked)
        except (OperationalError, InterfaceError, DBAPIError, OSError) as error:
            if is_worked:
                raise Uncertain(f"progress, perhaps written: {_said(error)}") from error
            raise _named(error) from error

    async def close(self) -> None:
        """Let the connections go."""
        if self._shared:
            try:
                await self._ended(self._shared.dispose(), _END_MS_MAX)
            except (TimeoutError, Uncertain):
                pass  # they end with the process
        if self._thread:
            self._thread.shutdown()
        if self._own:
            self._own.dispose()

    async def _ended(self, work: Coroutine[Any, Any, T], wait_ms: int) -> T:
        """Raises TimeoutError where it did not end in time and was ended instead, Uncertain where it does not even end
        then."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait([task], timeout=wait_ms / 1000)
        finally:
            if not task.done():
                task.cancel()
                self._given_up.add(task)
                task.add_done_callback(self._end)
                await asyncio.wait([task], timeout=_END_MS_MAX / 1000)
        if not task.done():
            raise Uncertain(f"progress, perhaps written: no answer, and no end, within {wait_ms} ms")
        if task.cancelled():
            raise TimeoutError(f"no answer within {wait_ms} ms")
        return task.result()

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._given_up.discard(task)
        if not task.cancelled():
            task.exception()  # it was told that there was no answer

    async def _transact_shared(self, engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    async def _run_in_thread(self, work: Callable[[Connection], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "evermq-progress")
        job = asyncio.get_running_loop().run_in_executor(self._thread, partial(self._transact, work))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])  # it cannot be stopped, so nobody may go on before it has ended
            job.exception()  # looked at: nobody waits for it
            raise

    def _transact(self, work: Callable[[Connection], T]) -> T:
        assert self._own
        with self._own.begin() as connection:
            return work(connection)


def with_driver(url: str | URL) -> URL:
    """The URL with an asynchronous driver, where it names none."""
    parsed = make_url(url)
    return parsed.set(drivername=_ASYNC.get(parsed.drivername, parsed.drivername))


def unavailable(error: Exception) -> Unavailable:
    """As whoever uses a session of his own is told that its database failed."""
    return Unavailable(f"progress: {_said(error)}")


def _named(error: Exception) -> EvermqError:
    if _DENIED & _codes_of(error):
        return Denied(
            f"progress: {_said(error)}: give the user of its URL this database, with the right to make tables"
        )
    return unavailable(error)


def _codes_of(error: BaseException) -> set[str | int | None]:
    cause = getattr(error, "orig", None) or error
    first = cause.args[0] if cause.args else None
    return {getattr(cause, "sqlstate", None), first if isinstance(first, int) else None}


def _said(error: Exception) -> str:
    return (str(getattr(error, "orig", None) or error) or type(error).__name__).splitlines()[0][:200]


def _without_password(url: str) -> str:
    try:
        parsed: URL = make_url(url)
        return parsed.render_as_string(hide_password=True)
    except ArgumentError:
        return "an URL that is none"


def tame(engine: Engine | AsyncEngine) -> None:
    """What an engine needs whose sessions settle deliveries; before its first connection.

    SQLite: a session is one transaction from its start, savepoints and all, and writers wait for each other there: one
    that only finds out when it writes fails. What a power loss takes is handled again; a kill takes nothing. Others: a
    server that has become read-only is left, with all connections to it: it is the primary no more, and stays up."""
    engine = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    else:
        event.listen(engine, "handle_error", _leave_read_only)


def is_tame(connection: Connection) -> bool:
    """Whether it is of such an engine of SQLite."""
    return _TAME in connection.info


def _prepare(connection: Any, record: Any) -> None:
    record.info[_TAME] = True
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA busy_timeout = 10000")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _leave_read_only(context: ExceptionContext) -> None:
    if _READ_ONLY & _codes_of(context.original_exception):
        context.is_disconnect = True
