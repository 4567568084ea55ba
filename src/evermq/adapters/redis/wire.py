"""Scripts over lanes: one round trip to each server that holds some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from evermq.adapters.redis.failure import failure
from evermq.adapters.redis.lane import Lane
from evermq.adapters.redis.script import Argument, Script, argument, command
from evermq.adapters.redis.server import Server
from evermq.adapters.redis.topology import Topology
from evermq.errors import EvermqError, Unavailable, Uncertain

__all__ = ["Wire"]

Values = Sequence[Argument]


class Wire:
    """replicas: how many must have an append before it counts, 0 for none. replicas_ms: how long they may take."""

    def __init__(self, topology: Topology, *, replicas: int = 0, replicas_ms: int = 1_000) -> None:
        self.topology = topology
        self._replicas = replicas
        self._replicas_ms = replicas_ms

    @property
    def splits(self) -> bool:
        """Lanes may live on different servers, and a call over several is not atomic."""
        return self.topology.splits

    async def call(
        self, script: Script, lanes: Sequence[Lane], shared: Values, each: Sequence[Values] = (), *, beside: str = ""
    ) -> list[Any]:
        """The reply for each lane. shared, each: arguments for all lanes, and of each. Raises the first error.

        beside: a key that stands before those of the lanes, where all are on one server."""
        replies = await self.call_each(script, lanes, shared, each, beside=beside)
        for reply in replies:
            if isinstance(reply, EvermqError):
                raise reply
        return replies

    async def call_each(
        self,
        script: Script,
        lanes: Sequence[Lane],
        shared: Values,
        each: Sequence[Values] = (),
        *,
        waits: bool = False,
        beside: str = "",
    ) -> list[Any]:
        """As `call`, with the error of a lane in place of its reply. waits: until enough replicas have it."""
        each = each or [()] * len(lanes)
        if not self.topology.splits:
            values = [*shared, *(value for some in each for value in some)]
            keys = [lane.keys[script.kinds] for lane in lanes]
            if beside:
                keys.insert(0, b"".join(argument(beside)))
            try:
                server = await self.topology.server("")
                [reply] = await self._run(server, script, [(keys, values)], waits)
            except EvermqError as error:
                await self.topology.doubt()
                reply = error
            return [reply] * len(lanes) if isinstance(reply, EvermqError) else reply
        return await self._scatter(script, lanes, shared, each, waits)

    async def on_key(self, script: Script, tag: str, key: str, values: Values) -> list[Any]:
        """A script over one key that is no lane's."""
        server = await self.topology.server(tag)
        [reply] = await self._run(server, script, [([b"".join(argument(key))], list(values))], False)
        if isinstance(reply, EvermqError):
            await self.topology.doubt()
            raise reply
        found: list[Any] = reply
        return found

    async def tell(self, tag: str, *values: Argument) -> Any:
        """A command on the server that holds a tag."""
        server = await self.topology.server(tag)
        try:
            return await server.tell(*values)
        except EvermqError:
            await self.topology.doubt()
            raise

    async def close(self) -> None:
        await self.topology.close()

    async def _scatter(
        self, script: Script, lanes: Sequence[Lane], shared: Values, each: Sequence[Values], waits: bool
    ) -> list[Any]:
        replies: list[Any] = [None] * len(lanes)
        rows: dict[Server, list[int]] = {}
        for row, lane in enumerate(lanes):
            try:
                rows.setdefault(await self.topology.server(lane.tag), []).append(row)
            except EvermqError as error:
                replies[row] = error

        async def ask(server: Server, mine: list[int]) -> None:
            calls = [([lanes[row].keys[script.kinds]], [*shared, *each[row]]) for row in mine]
            try:
                found = await self._run(server, script, calls, waits)
            except EvermqError as error:
                found = [error] * len(mine)
            for row, reply in zip(mine, found, strict=True):
                replies[row] = reply if isinstance(reply, EvermqError) else reply[0]

        await asyncio.gather(*(ask(server, mine) for server, mine in rows.items()))
        if any(isinstance(reply, EvermqError) for reply in replies):
            await self.topology.doubt()
        return replies

    async def _run(
        self, server: Server, script: Script, calls: list[tuple[list[bytes], list[Argument]]], waits: bool
    ) -> list[Any]:
        """The replies to several calls of a script, in one round trip; two where the server did not know the script."""
        waits = waits and self._replicas > 0
        parts = [part for keys, values in calls for part in script.request(keys, values)]
        if waits:
            parts += command("WAIT", self._replicas, self._replicas_ms)
        replies = await server.ask(parts, len(calls) + waits, more_ms=self._replicas_ms if waits else 0)
        confirmed = replies.pop() if waits else 0
        unknown = [row for row, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = [part for row in unknown for part in script.request(*calls[row], whole=True)]
            if waits:
                again += command("WAIT", self._replicas, self._replicas_ms)
            more = await server.ask(again, len(unknown) + waits, more_ms=self._replicas_ms if waits else 0)
            confirmed = more.pop() if waits else 0
            for row, reply in zip(unknown, more, strict=True):
                replies[row] = reply
        found = [failure(reply, server.where) if isinstance(reply, Exception) else reply for reply in replies]
        if waits and (isinstance(confirmed, Exception) or confirmed < self._replicas):
            return [self._unconfirmed(server, reply, confirmed) for reply in found]
        return found

    def _unconfirmed(self, server: Server, reply: Any, confirmed: Any) -> Any:
        """What is written here and perhaps nowhere else; a refusal stays what it is."""
        if isinstance(reply, Unavailable) or (isinstance(reply, list) and all(isinstance(r, int) for r in reply)):
            return reply
        return Uncertain(
            f"redis {server.where}: appended, but {confirmed} of {self._replicas} replicas confirmed it within "
            f"{self._replicas_ms} ms"
        )
