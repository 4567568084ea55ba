"""What fails in a consumer and is tried again: told to a callback, and in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from evermq.clock import Clock
from evermq.errors import Damaged

__all__ = ["OnError", "Reports"]

OnError = Callable[[BaseException], None]
_log = logging.getLogger("evermq.consumer")
_SILENT_MS = 10_000
_CHARS_MAX = 1_000  # of an error


class Reports:
    """Of a group. What is alike is logged once in ten seconds, and then how often it has been since."""

    def __init__(self, group: str, on_error: OnError | None, clock: Clock) -> None:
        self._group = group
        self._on_error = on_error
        self._clock = clock
        self._damage = ""
        self._logged: dict[tuple[str, type], tuple[int, int]] = {}  # when, and how many were not since

    def tell(self, what: str, error: BaseException, of: str = "", *, is_logged: bool = False) -> None:
        """Tell the callback, or the log where there is none, and where it is to be logged in any case, as damage is.

        what: the same text for what is alike. of: which message it was, say."""
        if isinstance(error, Damaged):
            if str(error) != self._damage:  # where nobody can go on behind it, it is met again and again
                self._damage = str(error)
                _log.warning("group %s: %s", self._group, error)
        elif is_logged or self._on_error is None:
            self._log(what, error, of)
        if self._on_error is None:
            return
        try:
            self._on_error(error)
        except Exception as raised:  # else nothing would be handled any more
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"on_error failed for {error!r}", "exception": raised}
            )

    def _log(self, what: str, error: BaseException, of: str) -> None:
        alike = what, type(error)
        now_ms = self._clock.monotonic_ms()
        when_ms, more = self._logged.get(alike, (now_ms - _SILENT_MS, 0))
        if now_ms - when_ms < _SILENT_MS:
            self._logged[alike] = when_ms, more + 1
            return
        self._logged[alike] = now_ms, 0
        since = f" (and {more} more since this was logged last)" if more else ""
        shown, where = repr(error)[:_CHARS_MAX], error if _can_be_shown(error) else None
        _log.warning("group %s: %s%s: %s%s", self._group, what, of, shown, since, exc_info=where)


def _can_be_shown(error: BaseException) -> bool:
    """Whether a log takes its whole text, which a traceback ends with: files are UTF-8, and it may quote a message."""
    text = str(error)
    return len(text) <= _CHARS_MAX and not any("\ud800" <= each <= "\udfff" for each in text)
