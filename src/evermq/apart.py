"""What came of several rungs is settled at each by itself, where it cannot be at all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from evermq.port import Delivery

__all__ = ["Settle", "apart"]

Settle = Callable[[Sequence[Delivery]], Awaitable[None]]


async def apart(settle: Settle, deliveries: Sequence[Delivery]) -> tuple[list[Delivery], Exception | None]:
    """Settle these at once; where that fails, those of each rung side by side. Returns what is left, and what it failed
    with. One rung that is away for long leaves no more than what came of it: all else that is settled meanwhile would
    be kept, and settled again and again, with it."""
    try:
        await settle(deliveries)
    except Exception as error:
        parts: dict[tuple[str, ...], list[Delivery]] = {}
        for each in deliveries:
            parts.setdefault(each.position.via, []).append(each)
        if len(parts) < 2:
            return list(deliveries), error
    else:
        return [], None
    errors = await asyncio.gather(*(_error_of(settle, part) for part in parts.values()))
    left = [each for part, error in zip(parts.values(), errors, strict=True) if error for each in part]
    return left, next((error for error in errors if error), None)


async def _error_of(settle: Settle, deliveries: Sequence[Delivery]) -> Exception | None:
    try:
        await settle(deliveries)
    except Exception as error:
        return error
    return None
