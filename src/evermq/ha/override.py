"""The hand at the switch: a rung is chosen for all processes, and given free again, with who and why on record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evermq.clock import SYSTEM, Clock
from evermq.coordinator import Coordinator, Versioned
from evermq.errors import Damaged, Fenced
from evermq.ha.agreement import Agreement, Pin, decode, encode

__all__ = ["pin", "release"]

_TRIES = 5


async def pin(coordinator: Coordinator, rung: str, *, who: str, why: str, clock: Clock = SYSTEM) -> Agreement:
    """Let every process begin at this rung until `release`, whatever they find. Returns what is agreed now.

    Raises Unavailable where the coordinator is away, Fenced where others write all the time."""
    at_ms = clock.now_ms()
    return await _change(coordinator, who, f"pinned to {rung}: {why}", at_ms, pin=Pin(rung, who, why, at_ms))


async def release(coordinator: Coordinator, *, who: str, why: str, clock: Clock = SYSTEM) -> Agreement:
    """Let the processes decide again."""
    return await _change(coordinator, who, f"released: {why}", clock.now_ms(), pin=None)


async def _change(coordinator: Coordinator, who: str, why: str, at_ms: int, **changes: Any) -> Agreement:
    for _ in range(_TRIES):
        stored = await coordinator.get()
        agreed = _known(stored, at_ms).next(by=who, why=why, at_ms=at_ms, **changes)
        try:
            await coordinator.put(encode(agreed), version=stored.version)
        except Fenced:
            continue
        return agreed
    raise Fenced("others write the switch all the time: try again")


def _known(stored: Versioned, at_ms: int) -> Agreement:
    """What nobody can read is written over, in an epoch above all that were counted one by one."""
    try:
        return decode(stored.value, at_ms)
    except Damaged:
        return replace(Agreement(), epoch=at_ms)
