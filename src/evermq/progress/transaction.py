"""The transaction of a handler: what is settled in it must be undone with all else of it."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from evermq.errors import Misconfigured
from evermq.progress.database import is_tame

__all__ = ["begin"]

_WAY_OUT = "pass the engine of its sessions to evermq.progress.database.tame before it is used"


def begin(connection: Connection) -> None:
    """See to it that what comes is undone with the rest. Raises Misconfigured where it would not be.

    The driver of SQLite begins no transaction before a session first writes: it is begun here, so that nobody takes the
    lane over between the look at its claim and the mark."""
    if connection.dialect.name != "sqlite":
        if _commits_alone(connection):
            raise Misconfigured("settle: this session is in AUTOCOMMIT, so that the mark would stay without the effect")
        return
    if connection.in_nested_transaction() and not is_tame(connection):
        # The driver begins nothing before a savepoint, so that its release is perhaps a commit.
        raise Misconfigured(f"settle: a savepoint of SQLite commits what is done in it, the mark alone: {_WAY_OUT}")
    driver = connection.connection.driver_connection
    if driver is None or driver.in_transaction:
        return
    if driver.isolation_level is None:
        raise Misconfigured(f"settle: this session of SQLite is in AUTOCOMMIT, or begins nothing: {_WAY_OUT}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _commits_alone(connection: Connection) -> bool:
    driver = connection.connection.dbapi_connection
    try:
        return driver is not None and connection.dialect.detect_autocommit_setting(driver)
    except NotImplementedError:  # by a driver that does not tell
        return False
