"""What the driver does in a thread that nobody waits for at the end of the process: it may not come back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from traceback import clear_frames
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


def in_thread(act: Callable[[], T]) -> Future[T]:
    """Begin at once; the future has what came of it."""
    future: Future[T] = Future()
    Thread(target=_run, args=(act, future), daemon=True).start()
    return future


def _run(act: Callable[[], T], future: Future[T]) -> None:
    future.set_running_or_notify_cancel()
    try:
        future.set_result(act())
    except Exception as error:
        clear_frames(error.__traceback__)  # whoever keeps the error must not keep the driver's client
        future.set_exception(error)
    finally:
        del act, future
