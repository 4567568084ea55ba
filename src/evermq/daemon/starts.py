"""Where a group begins, as the command line says it."""

from __future__ import annotations

from datetime import datetime

from evermq.errors import Misconfigured
from evermq.port import Start

__all__ = ["start_of"]

_OFFSET_MAX = (1 << 63) - 1


def start_of(text: str, option: str) -> Start:
    """oldest, newest, an offset or an ISO time. Raises Misconfigured, which names the option."""
    if text in ("oldest", "newest"):
        return Start(text)
    if text.isdecimal() and len(text) < 20 and int(text) <= _OFFSET_MAX:
        return Start("offset", int(text))
    try:
        return Start("time", int(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError) as error:
        raise Misconfigured(
            f"{option} {text!r}: give oldest, newest, an offset, or a time as 2026-01-31T12:00"
        ) from error
