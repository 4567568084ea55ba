"""Which server holds what: one server, the master that Sentinel names, or the nodes of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol
from weakref import WeakSet

from redis.crc import key_slot

from evermq.adapters.redis.server import Server
from evermq.errors import Closed, EvermqError, Unavailable, Unsupported

__all__ = ["Address", "Cluster", "Open", "Sentinels", "Single", "Topology"]

Address = tuple[str, int]
Open = Callable[[Address], Server]
Slots = list[tuple[int, int, Address]]  # from, to, and their master
_CLOSED = "the connection to this redis was closed: open it again"


class Topology(Protocol):
    """splits: lanes may live on different servers."""

    splits: bool

    async def server(self, tag: str) -> Server:
        """The one that holds the keys of this hash tag. Raises Unavailable."""
        ...

    async def servers(self) -> Sequence[Server]:
        """All that take writes."""
        ...

    async def doubt(self) -> None:
        """Something moved: find out anew before the next request."""
        ...

    async def close(self) -> None: ...


class Single:
    """One server."""

    splits = False

    def __init__(self, address: Address, open_: Open) -> None:
        self._server = open_(address)

    async def server(self, tag: str) -> Server:
        return self._server

    async def servers(self) -> Sequence[Server]:
        return [self._server]

    async def doubt(self) -> None:
        """There is nowhere else to look."""

    async def close(self) -> None:
        await self._server.close()


class Sentinels:
    """The master of a name. open_sentinel: connects to a Sentinel, which may have a password of its own."""

    splits = False

    def __init__(self, sentinels: Sequence[Address], master: str, open_: Open, open_sentinel: Open) -> None:
        self._sentinels = [open_sentinel(each) for each in sentinels]
        self._name = master
        self._open = open_
        self._master: tuple[Address, Server] | None = None
        self._opened: WeakSet[Server] = WeakSet()  # masters, what was named as one, and what is one no more
        self._doubted = True
        self._closed = False
        self._lock = asyncio.Lock()

    async def server(self, tag: str) -> Server:
        async with self._lock:
            if self._doubted or self._master is None:
                await self._find()
            assert self._master
            return self._master[1]

    async def servers(self) -> Sequence[Server]:
        return [await self.server("")]

    async def doubt(self) -> None:
        self._doubted = True

    async def close(self) -> None:
        self._closed = True  # whoever looks for the master opens nothing any more
        for each in [*self._sentinels, *self._opened]:
            await each.close()

    async def _find(self) -> None:
        """Ask one Sentinel after the other; a master that it names must call itself one."""
        said: list[str] = []
        for sentinel in self._sentinels:
            try:
                found = await sentinel.tell("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
                if not found:
                    said.append(f"sentinel {sentinel.where} knows no master {self._name}")
                    continue
                await self._use((found[0].decode(), int(found[1])))
                return
            except Closed:
                raise
            except EvermqError as error:
                said.append(str(error))
        raise Unavailable(f"no Sentinel names a master {self._name} that answers: {'; '.join(said)}")

    async def _use(self, address: Address) -> None:
        if self._closed:
            raise Closed(_CLOSED)
        known = self._master[1] if self._master and self._master[0] == address else None
        server = known or self._open(address)
        self._opened.add(server)
        try:
            role = await server.tell("ROLE")
            if role[0] != b"master":
                raise Unavailable(f"redis {server.where} is named as master and calls itself {role[0].decode()}")
        except BaseException:
            if server is not known:
                await server.close()
            raise
        before, self._master, self._doubted = self._master, (address, server), False
        if before and before[1] is not server:
            await before[1].depose()


class Cluster:
    """Nodes by the slots that they hold, as `CLUSTER SLOTS` of any of them says."""

    splits = True

    def __init__(self, seeds: Sequence[Address], open_: Open) -> None:
        self._open = open_
        self._seeds = list(seeds)
        self._nodes: dict[Address, Server] = {}
        self._gone: WeakSet[Server] = WeakSet()  # whose connections may not have ended yet
        self._slots: Slots = []
        self._masters: set[Address] = set()  # as the last map had them
        self._lock = asyncio.Lock()
        self._closed = False

    async def server(self, tag: str) -> Server:
        slot = key_slot(tag.encode())
        for first, last, address in await self._map():
            if first <= slot <= last:
                return self._node(address)
        self._slots = []
        raise Unavailable(
            f"by its own map no node of the redis cluster holds slot {slot}: bring back the one that did, or give the "
            "slot to another one: redis-cli --cluster check, redis-cli --cluster fix"
        )

    async def servers(self) -> Sequence[Server]:
        return [self._node(address) for address in sorted({address for _, _, address in await self._map()})]

    async def doubt(self) -> None:
        self._slots = []

    async def close(self) -> None:
        self._closed = True  # whoever reads the map opens nothing any more
        for node in [*self._nodes.values(), *self._gone]:
            await node.close()

    def _node(self, address: Address) -> Server:
        if address not in self._nodes:
            if self._closed:
                raise Closed(_CLOSED)
            self._nodes[address] = self._open(address)
        return self._nodes[address]

    async def _map(self) -> Slots:
        """What is known, or what a node says now: it is in doubt again, perhaps, before who asked for it goes on."""
        async with self._lock:
            return self._slots or await self._learn()

    async def _learn(self) -> Slots:
        said: list[str] = []
        for address in dict.fromkeys([*self._nodes, *self._seeds]):
            try:
                found: list[Any] = await self._node(address).tell("CLUSTER", "SLOTS")
            except (Unsupported, Closed):
                raise
            except EvermqError as error:
                said.append(str(error))
                self._nodes[address] = self._nodes.pop(address)  # the next time it is asked last
                continue
            if not found:
                said.append(f"redis {self._node(address).where} names no slots")
                continue
            slots = self._slots = [(first, last, _address(node, address)) for first, last, node, *_ in found]
            masters = {master for _, _, master in slots}
            named = {_address(node, address) for _, _, *nodes in found for node in nodes}
            await self._forget((self._nodes.keys() - named) | (self._masters - masters))
            self._masters = masters
            return slots
        raise Unavailable(f"no node of the redis cluster says which one holds what: {'; '.join(said)}")

    async def _forget(self, addresses: Collection[Address]) -> None:
        """Nodes that are named no more, and those that are masters no more: what they still answered would be lost.
        Seeds are asked again where no node answers."""
        for address in [each for each in addresses if each in self._nodes]:
            gone = self._nodes.pop(address)
            self._gone.add(gone)
            await gone.depose()


def _address(node: list[Any], asked: Address) -> Address:
    """A node that does not know its own name is the one that was asked."""
    return (node[0].decode() if node[0] else asked[0], int(node[1]))
