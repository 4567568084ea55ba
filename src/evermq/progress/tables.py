"""The tables of progress in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect

__all__ = ["NAME_CHARS_MAX", "claims", "fresh", "metadata", "put", "put_new", "readers", "settled", "states"]

NAME_CHARS_MAX = 120  # of a topic or group: a key of several columns must fit an index of every engine

metadata = MetaData()
_EXACT = "utf8mb4_bin"  # else MySQL takes A for a, and names that differ are one
_ENGINES = ("mysql", "mariadb")
_LARGE = Text().with_variant(mysql.MEDIUMTEXT(collation=_EXACT), *_ENGINES)


def _text(count_max: int) -> String:
    return String(count_max).with_variant(mysql.VARCHAR(count_max, collation=_EXACT), *_ENGINES)


_NAME = _text(NAME_CHARS_MAX)
_TOKEN = _text(40)  # of a stream or reader


def _of_group(name: str, *columns: Column[Any]) -> Table:
    owner = (Column("topic", _NAME, primary_key=True), Column("grp", _NAME, primary_key=True))
    return Table(name, metadata, *owner, *columns)


# What a group has settled of a stream, as evermq.settled.Settled packs it.
states = _of_group(
    "evermq_states",
    Column("stream", _TOKEN, primary_key=True),
    Column("lane", Integer, nullable=False),
    Column("state", _LARGE, nullable=False),
)
# Numbers that were settled in a handler's own transaction, until the state above includes them.
settled = _of_group(
    "evermq_settled",
    Column("stream", _TOKEN, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("lane", Integer, nullable=False),
)
# Who may handle a lane, and who asked for it; below zero, whose turn it is to read a rung (evermq.policy.turns).
claims = _of_group(
    "evermq_claims",
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("owner", _TOKEN, nullable=False),
    Column("asking", _TOKEN),
)
# What is newer than the states above, by the reader that has claimed the lanes: see evermq.progress.fresh.
fresh = _of_group(
    "evermq_fresh",
    Column("reader", _TOKEN, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("states", _LARGE, nullable=False),
)
# The readers of a group; one whose beat stands still for too long is gone.
readers = _of_group(
    "evermq_readers",
    Column("reader", _TOKEN, primary_key=True),
    Column("beat", BigInteger, nullable=False),
    Column("report", _LARGE, nullable=False),
)


def put(table: Table, dialect: Dialect, *changes: str) -> Any:
    """An insert that sets these columns where the row is there already."""
    if dialect.name in _ENGINES:
        insert = mysql.insert(table)
        return insert.on_duplicate_key_update({name: insert.inserted[name] for name in changes})
    make = postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
    return make.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: make.excluded[name] for name in changes}
    )


def put_new(table: Table, dialect: Dialect) -> Any:
    """An insert that does nothing where the row is there already; its row count says so."""
    if dialect.name in _ENGINES:
        return mysql.insert(table).prefix_with("IGNORE")
    make = postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
    return make.on_conflict_do_nothing(index_elements=list(table.primary_key))
