"""The thread that writes for event loops, and the moment at which a loop lets it begin.

Python runs one thread at a time. A writer that was asked gets its chance when the loop sleeps, which is late where the
loop makes large groups: by then the disk has idled for as long as the making took. So a loop that has made a group of
some size stands still until the writer is in its write call, where it needs no interpreter, and makes the next group
meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from time import sleep

__all__ = ["AGAIN_S", "Writer"]

AGAIN_S = 0.05
_STILL_MAX_S = 0.002  # a writer that must make a new segment first takes longer: nobody stands still for that


class Writer:
    """turn(): called in the thread, once for each `ask`, and again for as long as it raises."""

    def __init__(self, turn: Callable[[], object]) -> None:
        self.is_asked = False  # and has not begun
        self._turn = turn
        self._requests: SimpleQueue[bool] = SimpleQueue()
        self._is_awaited = False
        self._writing = Lock()
        self._writing.acquire()
        self._thread = Thread(target=self._serve, name="evermq-log-writer", daemon=True)

    def start(self) -> None:
        """RuntimeError where the system has no thread for it."""
        self._thread.start()

    def ask(self) -> None:
        """A turn, as soon as the interpreter is free."""
        self.is_asked = True
        self._requests.put(True)

    def let_begin(self) -> None:
        """Stand still until the writer that was asked is in its write call, for 2 ms at most."""
        self.is_asked = False
        self._writing.acquire(blocking=False)  # told by one that was waited for too long
        self._is_awaited = True
        self._writing.acquire(timeout=_STILL_MAX_S)
        self._is_awaited = False

    def begins(self) -> None:
        """The write call comes next. From whichever thread has the turn."""
        if self._is_awaited:
            self._is_awaited = False
            self._writing.release()

    def close(self) -> None:
        """Do what was asked, then end, if it was started."""
        self._requests.put(False)
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        while self._requests.get():
            self.is_asked = False
            while not self._took_turn():
                sleep(AGAIN_S)

    def _took_turn(self) -> bool:
        """Whether it came to its end; else there was no memory for a step of it, and callers may not have been told."""
        try:
            self._turn()
        except Exception:
            return False
        return True
