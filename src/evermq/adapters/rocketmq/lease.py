"""When a lease ends, which the broker counts and who has the message estimates."""

from __future__ import annotations

__all__ = ["clear_of", "surely"]

_EARLY_PARTS = 10  # of a lease: so much of it may be over when the message comes here
_OFF_MS = 1_000  # so far an end may be off beside that, for requests take their time


def surely(lease_ms: int) -> int:
    """How long a message is certainly hidden yet that came here just now."""
    return lease_ms - lease_ms // _EARLY_PARTS


def clear_of(lease_ms: int, left_ms: int, hidden_ms: int) -> int:
    """For how long to hide what is given back. left_ms: what is left of its lease, about; hidden_ms: at least so long.

    Not until the very millisecond in which its lease ends: a broker with popConsumerKVServiceEnable finds what it knows
    of a message by that time, so that it would remove the new note with the old one and hand the message out to nobody
    any more (PopConsumerService.changeInvisibilityDuration of RocketMQ 5.4.0)."""
    latest_ms = left_ms + lease_ms // _EARLY_PARTS + _OFF_MS
    return latest_ms + 1 if left_ms - _OFF_MS <= hidden_ms <= latest_ms else hidden_ms
