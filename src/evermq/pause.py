"""How long a message that is given back waits, as its reader may say it."""

from __future__ import annotations

from evermq.errors import Rejected

__all__ = ["pause_ms"]

_YEARS_MAX = 10
_MS_MAX = _YEARS_MAX * 365 * 86_400_000


def pause_ms(delay_ms: float) -> int:
    """As a whole number: what is written down of it has to be one. Below zero is none. Raises Rejected for what is no
    number, or over ten years."""
    try:
        if delay_ms <= _MS_MAX:
            return max(0, round(delay_ms))
    except (TypeError, ValueError, OverflowError):
        pass
    raise Rejected(f"delay_ms = {delay_ms!r}: give milliseconds, at most {_MS_MAX} ({_YEARS_MAX} years)")
