"""What appends were promised to survive, and which servers keep that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import NoReturn
from weakref import WeakSet

from evermq.adapters.redis.server import Server
from evermq.adapters.redis.settings import Settings
from evermq.clock import SYSTEM, Clock
from evermq.errors import Misconfigured, Unavailable, Uncertain, Unsupported
from evermq.traits import Durable

__all__ = ["Promise"]

_AGAIN_MS = 1_000  # a server that was refused is asked again, as its settings may have been corrected
_log = logging.getLogger("evermq.redis")


class Promise:
    """durable: what is claimed. servers: those that were seen to keep it. required: what the claim may sink to where
    a server that takes over keeps less; None for not at all."""

    def __init__(
        self,
        durable: Durable,
        servers: Iterable[Server],
        *,
        required: Durable | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.durable = durable
        self._required = durable if required is None else required
        self._clock = clock
        self._kept = WeakSet(servers)
        self._refused: dict[str, tuple[float, Unavailable]] = {}  # until when, and why
        self._lock = asyncio.Lock()

    async def check(self, server: Server) -> None:
        """Before an append to a server, which may have been a replica when the queue was opened. Raises Unavailable
        where it keeps less, Denied."""
        if server in self._kept:
            return
        async with self._lock:
            until_ms, refusal = self._refused.get(server.where, (0.0, None))
            if refusal and self._clock.monotonic_ms() < until_ms:
                raise Unavailable(*refusal.args)
            if server not in self._kept:
                await self._look(server)

    async def _look(self, server: Server) -> None:
        try:
            settings = await Settings.read(server)
        except Uncertain as error:
            raise Unavailable(str(error)) from None  # these were questions, and nothing was appended
        if why := self._lack(settings):
            self._refuse(server, why)
        if settings.durable < self.durable:
            kept, claimed = settings.durable.name.lower(), self.durable.name.lower()
            _log.warning(
                "redis %s took over and keeps %s, no longer %s: %s", server.where, kept, claimed, settings.weak
            )
            self.durable = settings.durable
        self._refused.pop(server.where, None)
        self._kept.add(server)

    def _refuse(self, server: Server, why: str) -> NoReturn:
        least = self._required.name.lower()
        text = f"redis {server.where} took over and keeps less than the {least} that appends are promised: {why}"
        if server.where not in self._refused:
            _log.warning("%s; it is given no messages until this is mended, or the place is opened anew", text)
        refusal = Unavailable(text)
        self._refused[server.where] = (self._clock.monotonic_ms() + _AGAIN_MS, refusal)
        raise refusal

    def _lack(self, settings: Settings) -> str:
        """What is weaker than it may be; empty if nothing is."""
        try:
            settings.check()
        except (Misconfigured, Unsupported) as error:
            return str(error)
        if settings.durable >= self._required:
            return ""
        return settings.weak or f"it keeps {settings.durable.name.lower()}"
