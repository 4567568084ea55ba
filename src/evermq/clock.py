"""The only door of the core to time and chance, so that a simulator can stand behind it."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Protocol

__all__ = ["SYSTEM", "Clock", "SystemClock"]


class Clock(Protocol):
    """Time and chance as a component sees them."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970; may jump, so it is only a label and a due time."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back; for ages and time limits."""
        ...

    async def sleep(self, wait_ms: float) -> None:
        """Pause the calling task."""
        ...

    def token(self) -> str:
        """Sixteen random characters, unique for every practical purpose."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, wait_ms: float) -> None:
        await asyncio.sleep(wait_ms / 1000)

    def token(self) -> str:
        return secrets.token_hex(8)


SYSTEM = SystemClock()
