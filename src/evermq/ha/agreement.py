"""What all processes of a system agree on about one ladder: the value that stands in a coordinator.

Pure. An agreement has an epoch that rises by one with every change and is written by compare-and-set, so an older one
that turns up late is known as such. Scopes are rungs (`primary`) or one lane of a rung (`primary/3`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evermq.errors import Damaged
from evermq.ha.breaker import State

__all__ = ["Agreement", "Pin", "decode", "encode", "epoch_max"]

_TIME_MS_MAX = 1 << 53
_AHEAD_MS = 10 * 365 * 86_400_000
_TEXT_MAX = 1_000
_SCOPES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Pin:
    """Somebody chose the rung by hand; it stays until it is released. who, why: the beginning of longer texts."""

    rung: str
    who: str
    why: str
    at_ms: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "who", self.who[:_TEXT_MAX])
        object.__setattr__(self, "why", self.why[:_TEXT_MAX])


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """away: the scopes that are not normal. by, why, at_ms: who changed it last, the reason, and when (wall clock, a
    label)."""

    epoch: int = 0
    away: Mapping[str, State] = field(default_factory=dict)
    pin: Pin | None = None
    by: str = ""
    why: str = ""
    at_ms: int = 0

    def next(self, *, by: str, why: str, at_ms: int, **changes: Any) -> Agreement:
        """The one that follows."""
        return replace(self, epoch=self.epoch + 1, by=by[:_TEXT_MAX], why=why[:_TEXT_MAX], at_ms=at_ms, **changes)


def encode(agreement: Agreement) -> bytes:
    """As it is written."""
    content = asdict(agreement) | {"away": {scope: state.name.lower() for scope, state in agreement.away.items()}}
    return json.dumps(content, sort_keys=True).encode()


def epoch_max(now_ms: int) -> int:
    """Epochs are counted one by one, or from the time on where none could be read: one far above it is forged, and
    after the largest there is none could follow."""
    return now_ms + _AHEAD_MS


def decode(value: bytes, now_ms: int) -> Agreement:
    """Raises Damaged, with the reason, for what is no agreement; an empty value is the one before all others."""
    if not value:
        return Agreement()
    try:
        content = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise Damaged("it is no JSON object")
    return Agreement(
        epoch=_number(content, "epoch", 1, epoch_max(now_ms)),
        away=_away(content.get("away")),
        pin=_pin(content.get("pin")),
        by=_text(content, "by"),
        why=_text(content, "why"),
        at_ms=_number(content, "at_ms", 0, _TIME_MS_MAX),
    )


def _away(found: object) -> dict[str, State]:
    states = {state.name.lower(): state for state in State}
    if not isinstance(found, dict) or len(found) > _SCOPES_MAX:
        raise Damaged("away is no object of scopes")
    for scope, state in found.items():
        if not isinstance(state, str) or state not in states:
            raise Damaged(f"away: {scope} is {state!r}, which is none of {', '.join(states)}")
    return {scope: states[state] for scope, state in found.items() if states[state]}


def _pin(found: object) -> Pin | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        raise Damaged("pin is no object")
    return Pin(_text(found, "rung"), _text(found, "who"), _text(found, "why"), _number(found, "at_ms", 0, _TIME_MS_MAX))


def _number(content: dict[str, Any], name: str, least: int, most: int) -> int:
    found = content.get(name)
    if type(found) is not int or not least <= found <= most:
        raise Damaged(f"{name} is {str(found)[:50]!r}, and no whole number from {least} to {most}")
    return found


def _text(content: dict[str, Any], name: str) -> str:
    found = content.get(name)
    if not isinstance(found, str) or len(found) > _TEXT_MAX:
        raise Damaged(f"{name} is no text of at most {_TEXT_MAX} characters")
    return found
