"""`last = "log:///directory/topic"` of a failover: the host's own rung, with a slot for each process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evermq.adapters.address import Address, parse
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.slots import LogSlots
from evermq.adapters.open import open_log, open_queue
from evermq.compose.config import Child
from evermq.ha.host_rung import HostRung
from evermq.message import Message
from evermq.port import Queue, Reader, Start
from evermq.position import Position
from evermq.traits import Traits

__all__ = ["copies_of", "dead_letters_of", "host_rung", "hosts_of", "is_host_rung"]

_SEGMENT_BYTES = 16 << 20  # a slot is one producer's, and empty nearly always


def is_host_rung(key: str, parent: Child, child: Child) -> bool:
    """Whether a child is pumped by the processes of its host: nobody reads it, and it has no groups."""
    return parent.use == "failover" and key == "last" and child.url.startswith("log:")


def hosts_of(child: Child) -> list[str]:
    """The URLs of the rungs below a child that are this host's own."""
    return [
        url
        for key, each in child.children.items()
        for url in ([each.url] if is_host_rung(key, child, each) else hosts_of(each))
    ]


def host_rung(url: str, producer: str | None = None) -> HostRung:
    """Opens nothing yet. producer: the name by which this process has its slot again after a restart."""
    address = parse(url)
    options = {"segment_bytes": str(_SEGMENT_BYTES), "retain_bytes": "0", **address.options}  # nobody reads it again
    slots = _slots(address, "slots", options, producer)
    return HostRung(slots, name=address.topic, dead=_Unopened(dead_letters_of(url)))


def dead_letters_of(url: str) -> str:
    """The URL of what every rung above refused of what the host's own rung held."""
    address = parse(url)
    return f"log://{address.place}/{address.topic}.pump.dead"


def copies_of(key: str, url: str, bytes_max: int) -> LogSlots:
    """Beside the slots of the host's rung, those for copies of what the rung `key` acknowledged. They need to survive
    the process and not a loss of power, since that rung has the messages as well: nothing waits for a flush."""
    segment_bytes = min(_SEGMENT_BYTES, max(_SEGMENT_BYTES // 16, bytes_max // 4))
    options: dict[str, Any] = {"fsync": "never", "lanes": 1, "retain_bytes": 0, "segment_bytes": segment_bytes}
    return _slots(parse(url), f"copies-{key}", {**options, "spares_max": 1, "bytes_max": bytes_max}, None)


def _slots(address: Address, kind: str, options: dict[str, Any], producer: str | None) -> LogSlots:
    return LogSlots(
        Path(address.place) / kind / address.topic,
        address.topic,
        partial(open_log, **options),
        options=LogOptions.of(options),
        producer=producer,
    )


class _Unopened:
    """See `Queue`: opened when something is appended, since hardly ever anything is."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._queue: Queue | None = None
        self._opening = asyncio.Lock()
        self.name = url.rpartition("/")[2]

    @property
    def traits(self) -> Traits:
        assert self._queue, "open it first"
        return self._queue.traits

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        return await (await self._open()).append(messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Reader:
        return await (await self._open()).reader(group, start=start)

    async def backlog(self, group: str, lane: str | None = None) -> int:
        return await (await self._open()).backlog(group, lane)

    async def close(self) -> None:
        if self._queue:
            await self._queue.close()

    async def _open(self) -> Queue:
        async with self._opening:  # several pumps may be the first: one that was opened beside it nobody would close
            if self._queue is None:
                self._queue = await open_queue(self._url)
            return self._queue
