"""Appends of code without asyncio, where another process owns the log."""

from __future__ import annotations

import asyncio
import queue
from pathlib import Path
from threading import Thread

from evermq.adapters.open import open_log
from evermq.adapters.remote.shared_queue import SharedQueue
from evermq.errors import Misconfigured
from evermq.message import MessageFactory

make = MessageFactory()


async def outcomes(directory: Path, told: queue.SimpleQueue[object]) -> None:
    """Of an append in the loop's own thread, then in another one."""
    owner, other = await open_log(directory), await open_log(directory)
    opened = await other.queue("orders")
    assert isinstance(opened, SharedQueue)
    try:
        told.put(opened.append_blocking([make("in the loop")]))
    except Misconfigured as error:
        told.put(error)
    told.put(await asyncio.to_thread(opened.append_blocking, [make("in a thread")]))
    await other.close()
    await owner.close()


def test_append_that_would_wait_for_its_own_loop_is_told_so(tmp_path: Path) -> None:
    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    # In a loop that may hang, and does not outlive the test run.
    thread = Thread(target=lambda: asyncio.run(outcomes(tmp_path, told)), daemon=True)
    thread.start()
    error, positions = told.get(timeout=20), told.get(timeout=20)
    thread.join()
    assert isinstance(error, Misconfigured)
    assert "wait for itself" in str(error)
    assert len(positions) == 1  # type: ignore[arg-type]
