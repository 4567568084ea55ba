"""A transaction whose caller is given up, over SQLite."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from evermq.progress.database import Database

LIMIT_S = 10


async def test_transaction_that_fails_after_its_caller_was_given_up_is_no_error_of_the_program(tmp_path: Path) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    works, may = threading.Event(), threading.Event()

    def fail(_: Connection) -> None:
        works.set()
        may.wait(LIMIT_S)
        raise OSError("the disk is full")

    database = Database(f"sqlite:///{tmp_path}/progress")
    running = asyncio.create_task(database.run(fail))
    await asyncio.to_thread(works.wait, LIMIT_S)
    running.cancel()
    await asyncio.sleep(0)
    may.set()
    await asyncio.wait([running])
    assert running.cancelled()
    del running  # it keeps what it waited for
    await database.close()
    gc.collect()
    assert not told
