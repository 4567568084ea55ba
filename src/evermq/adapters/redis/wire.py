"""Scripts over lanes: one round trip to each server that holds some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from evermq.adapters.redis.failure import failure
from evermq.adapters.redis.lane import Lane
from evermq.adapters.redis.promise import Promise
from evermq.adapters.redis.script import Argument, Packed, Script, argument, command, pack
from evermq.adapters.redis.server import Server
from evermq.adapters.redis.topology import Topology
from evermq.errors import EvermqError, Uncertain
from evermq.traits import Durable

__all__ = ["Stretch", "Wire"]

Values = Sequence[Argument]
Call = tuple[Script, list[bytes], list[Packed]]  # a script, its keys and its arguments


class Request(NamedTuple):
    """A script over lanes. shared, each: arguments for all lanes, and of each.

    beside: a key that stands before those of the lanes, where all are on one server.
    """

    script: Script
    lanes: Sequence[Lane]
    shared: Packed
    each: Sequence[Packed] = ()
    beside: str = ""


class Stretch(NamedTuple):
    """Entries of a lane's list, by their indices."""

    lane: Lane
    begin: int
    size: int


class Wire:
    """promise: what an append survives. replicas: how many must have it before it counts, 0 for none. replicas_ms: how
    long they may take."""

    def __init__(self, topology: Topology, promise: Promise, *, replicas: int = 0, replicas_ms: int = 1_000) -> None:
        self.topology = topology
        self._promise = promise
        self._replicas = replicas
        self._replicas_ms = replicas_ms

    @property
    def durable(self) -> Durable:
        """What an append survives, as things stand."""
        return self._promise.durable

    @property
    def splits(self) -> bool:
        """Lanes may live on different servers, and a call over several is not atomic."""
        return self.topology.splits

    async def call(
        self, script: Script, lanes: Sequence[Lane], shared: Values, each: Sequence[Packed] = ()
    ) -> list[Any]:
        """The reply for each lane. Raises the first error."""
        [replies] = await self.calls(Request(script, lanes, pack(*shared), each))
        return replies

    async def calls(self, *requests: Request) -> list[list[Any]]:
        """As `call`, of several scripts that run one after the other; on one server in one round trip."""
        found = [await self.each(request) for request in requests] if self.splits else await self._together(requests)
        for replies in found:
            for reply in replies:
                if isinstance(reply, EvermqError):
                    raise reply
        return found

    async def each(self, request: Request, *, keeps: bool = False) -> list[Any]:
        """The reply for each lane, or its error. keeps: as it was promised, and on enough replicas."""
        if self.splits:
            return await self._scatter(request, keeps)
        [replies] = await self._together([request], keeps)
        return replies

    async def _together(self, requests: Sequence[Request], keeps: bool = False) -> list[list[Any]]:
        calls: list[Call] = []
        for script, lanes, shared, each, beside in requests:
            keys = [b"".join(argument(beside))] if beside else []
            keys += [lane.keys[script.kinds] for lane in lanes]
            calls.append((script, keys, [shared, *each]))
        try:
            replies = await self._run(await self.topology.server(""), calls, keeps)
        except EvermqError as error:
            replies = [error] * len(requests)
        if any(isinstance(reply, EvermqError) for reply in replies):
            await self.topology.doubt()
        return [
            [reply] * len(request.lanes) if isinstance(reply, EvermqError) else reply
            for request, reply in zip(requests, replies, strict=True)
        ]

    async def on_key(self, script: Script, tag: str, key: str, values: Values) -> list[Any]:
        """A script over one key that is no lane's."""
        server = await self.topology.server(tag)
        [reply] = await self._run(server, [(script, [b"".join(argument(key))], [pack(*values)])], False)
        if isinstance(reply, EvermqError):
            await self.topology.doubt()
            raise reply
        found: list[Any] = reply
        return found

    async def entries(self, wanted: Sequence[Stretch]) -> list[tuple[list[Any], list[bytes]]]:
        """Of each stretch [topic id, number of the first entry of the list], and what stands there at that moment.

        By plain commands, which cost the server a quarter of what a script over large values does."""
        found: list[tuple[list[Any], list[bytes]]] = []
        placed = [(await self.topology.server(each.lane.tag), each) for each in wanted]
        for server, mine in groupby(placed, itemgetter(0)):
            stretches = [stretch for _, stretch in mine]
            *queued, read = await server.ask(_read_at_once(stretches), 2 + 2 * len(stretches))
            told = [*queued, *(read if isinstance(read, list) else [read])]
            if error := next((reply for reply in told if isinstance(reply, Exception)), None):
                await self.topology.doubt()
                raise failure(error, server.where)
            found += zip(read[::2], read[1::2], strict=True)
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

    async def _scatter(self, request: Request, keeps: bool) -> list[Any]:
        script, lanes, shared, each, _ = request
        replies: list[Any] = [None] * len(lanes)
        rows: dict[Server, list[int]] = {}
        for row, lane in enumerate(lanes):
            try:
                rows.setdefault(await self.topology.server(lane.tag), []).append(row)
            except EvermqError as error:
                replies[row] = error

        async def ask(server: Server, mine: list[int]) -> None:
            own = each or [(0, [])] * len(lanes)
            calls: list[Call] = [(script, [lanes[row].keys[script.kinds]], [shared, own[row]]) for row in mine]
            try:
                found = await self._run(server, calls, keeps)
            except EvermqError as error:
                found = [error] * len(mine)
            for row, reply in zip(mine, found, strict=True):
                replies[row] = reply if isinstance(reply, EvermqError) else reply[0]

        await asyncio.gather(*(ask(server, mine) for server, mine in rows.items()))
        if any(isinstance(reply, EvermqError) for reply in replies):
            await self.topology.doubt()
        return replies

    async def _run(self, server: Server, calls: Sequence[Call], keeps: bool) -> list[Any]:
        """The replies to several calls, in one round trip; in two where the server did not know the scripts.

        Where it knew some of them nothing is sent again, since the order would not be the one that was asked for; a
        connection loads all scripts when it is made, so this takes a SCRIPT FLUSH at the wrong moment."""
        if keeps:
            await self._promise.check(server)
        replies, confirmed = await self._send(server, calls, keeps, whole=False)
        if all(isinstance(reply, NoScriptError) for reply in replies):
            replies, confirmed = await self._send(server, calls, keeps, whole=True)
        found = [failure(reply, server.where) if isinstance(reply, Exception) else reply for reply in replies]
        if isinstance(confirmed, Exception) or confirmed < (self._replicas if keeps else 0):
            return [self._unconfirmed(server, reply, confirmed) for reply in found]
        return found

    async def _send(self, server: Server, calls: Sequence[Call], keeps: bool, *, whole: bool) -> tuple[list[Any], Any]:
        """The replies, and how many replicas confirmed."""
        parts = [part for script, keys, packed in calls for part in script.request(keys, packed, whole=whole)]
        if not (keeps and self._replicas):
            return await server.ask(parts, len(calls)), 0
        parts += command("WAIT", self._replicas, self._replicas_ms)
        replies = await server.ask(parts, len(calls) + 1, more_ms=self._replicas_ms)
        return replies[:-1], replies[-1]

    def _unconfirmed(self, server: Server, reply: Any, confirmed: Any) -> Any:
        """What is written here and perhaps nowhere else; an error or a refusal stays what it is."""
        if isinstance(reply, EvermqError) or (isinstance(reply, list) and all(isinstance(r, int) for r in reply)):
            return reply
        return Uncertain(
            f"redis {server.where}: appended, but {confirmed} of {self._replicas} replicas confirmed it within "
            f"{self._replicas_ms} ms"
        )


def _read_at_once(stretches: Iterable[Stretch]) -> list[bytes]:
    parts = command("MULTI")
    for lane, begin, size in stretches:
        parts += [b"*4\r\n", *argument("HMGET"), lane.keys["s"], *argument("id"), *argument("head")]
        parts += [b"*4\r\n", *argument("LRANGE"), lane.keys["l"], *argument(begin), *argument(begin + size - 1)]
    return parts + command("EXEC")
