"""Engines inside the process, each as fast as it can be told to be with every commit on the disk.

They store a number and the body of each message, nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Any

from embedded.messages import body_batches
from embedded.workbench import Workbench
from rig.contender import Contender, Measure
from rig.pace import per_second

__all__ = ["connect", "lmdb_store", "rocksdb_store", "sqlite_store"]

_INSERT = "INSERT INTO messages (body) VALUES (?)"


def connect(path: str, *, page_bytes: int) -> sqlite3.Connection:
    """A database in WAL mode for one owner, with synchronous=FULL: a commit is one write of the WAL and one flush."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    settings = f"page_size={page_bytes}", "locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"
    for setting in (*settings, "secure_delete=OFF"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("CREATE TABLE messages (number INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    return connection


def sqlite_store(bench: Workbench, batch: int, size: int) -> Contender:
    """`executemany` in one transaction a batch. Pages of 16 KB are fastest for batches, of 4 KB for single rows."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        path = bench.path("sqlite") / "queue.db"
        with closing(connect(str(path), page_bytes=4096 if batch == 1 else 16384)) as connection:

            def append(bodies: list[bytes]) -> None:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_INSERT, [(body,) for body in bodies])
                connection.execute("COMMIT")

            batches = body_batches(batch, size)
            yield lambda seconds: batch * per_second(append, batches, seconds)

    return Contender(f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL, {batch} a transaction", ready)


def lmdb_store(bench: Workbench, batch: int, size: int) -> Contender:
    """`putmulti` in append mode, one transaction a batch, sync and metasync on."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        import lmdb

        numbers = count()
        with lmdb.open(str(bench.path("lmdb")), map_size=16 << 30, readahead=False, meminit=False) as store:

            def append(bodies: list[bytes]) -> None:
                with store.begin(write=True) as transaction:
                    items = [(next(numbers).to_bytes(8, "big"), body) for body in bodies]
                    transaction.cursor().putmulti(items, append=True)

            batches = body_batches(batch, size)
            yield lambda seconds: batch * per_second(append, batches, seconds)

    return Contender(f"LMDB, append mode, {batch} a transaction, sync", ready, {"lmdb": "lmdb"})


def rocksdb_store(bench: Workbench, batch: int, size: int) -> Contender:
    """One WriteBatch with sync; recycled WAL files, a large memtable, and no compaction in the background."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        import rocksdict

        numbers = count()
        store = rocksdict.Rdict(str(bench.path("rocksdb")), _rocksdb_options(rocksdict))
        durable = rocksdict.WriteOptions()
        durable.sync = True

        def append(bodies: list[bytes]) -> None:
            together = rocksdict.WriteBatch(raw_mode=True)
            for body in bodies:
                together.put(next(numbers).to_bytes(8, "big"), body)
            store.write(together, durable)

        batches = body_batches(batch, size)
        yield lambda seconds: batch * per_second(append, batches, seconds)
        store.close()

    return Contender(f"RocksDB, WriteBatch of {batch}, sync", ready, {"rocksdict": "rocksdict"})


def _rocksdb_options(rocksdict: Any) -> Any:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_recycle_log_file_num(4)
    options.set_write_buffer_size(256 << 20)
    options.set_compression_type(rocksdict.DBCompressionType.none())
    options.set_disable_auto_compactions(True)
    options.set_enable_pipelined_write(True)
    return options
