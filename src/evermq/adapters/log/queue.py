"""A topic of the embedded log behind the port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.reader import LogReader
from evermq.adapters.log.topic import Topic
from evermq.errors import Closed, Misconfigured, Unsupported
from evermq.message import Message
from evermq.port import Start
from evermq.position import Position
from evermq.topics import check_group
from evermq.traits import Ack, Durable, Groups, Order, Traits

__all__ = ["LogQueue", "traits_of"]

_TEN_YEARS_MS = 10 * 365 * 86_400_000
_BATCH_COUNT_MAX = 65_536


class LogQueue:
    """See `Queue`; it is also `AppendsBlocking`. Several may be open on one topic."""

    def __init__(self, topic: Topic, *, durable: Durable, message_bytes_max: int) -> None:
        self._topic = topic
        self._lanes = topic.lanes
        self._committer = topic.place.committer
        self._readers: list[LogReader] = []
        self._closed = False
        self.name = topic.name
        self.traits = _traits(durable, topic.record_.lanes, message_bytes_max)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        if len(messages) != 1:
            return await self._append_many(messages)
        if self._closed or self._topic.dropped:
            self._check()
        joint, index = self._committer.join_one(self._lanes, messages[0])
        ticket = joint.ticket
        try:
            await ticket.future
        except asyncio.CancelledError:
            await ticket.wait_on()
        results = joint.results
        return results[index] if results else joint.result_of(index)

    async def _append_many(self, messages: Sequence[Message]) -> Sequence[Position]:
        if not self._check_append(messages):
            return ()
        return await self._committer.append(self._lanes, messages)

    def append_blocking(self, messages: Sequence[Message]) -> Sequence[Position]:
        if (len(messages) != 1 or self._closed or self._topic.dropped) and not self._check_append(messages):
            return ()
        return self._committer.append_blocking(self._lanes, messages)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> LogReader:
        self._check()
        check_group(group)
        if start.at not in ("oldest", "newest", "time", "offset"):
            raise Misconfigured(f'start "{start.at}": give oldest, newest, time or offset')
        found = self._topic.group(group, start)
        reader = LogReader(self._topic, found)
        with self._topic.lock:
            found.readers[reader] = {}
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        if lane is not None and (not lane.isdecimal() or int(lane) >= self.traits.lanes):
            raise Misconfigured(f'lane "{lane}": {self.name} has lanes 0 to {self.traits.lanes - 1}')
        return self._topic.backlog(group, lane)

    async def end(self, lane: str) -> int:
        """See `evermq.settling.Bounded`."""
        self._check()
        return self._topic.end(int(lane))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            for reader in self._readers:
                await reader.close()

    def _check_append(self, messages: Sequence[Message]) -> int:
        if self._closed or self._topic.dropped:
            self._check()
        count = len(messages)
        if count > _BATCH_COUNT_MAX:
            raise Unsupported(f"a batch of {count} messages: at most {_BATCH_COUNT_MAX} fit, append in parts")
        return count

    def _check(self) -> None:
        self._topic.check()
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


def traits_of(options: LogOptions, *, lanes: int) -> Traits:
    """What a topic of a directory opened with these options will promise."""
    return _traits(options.durable, lanes, options.message_bytes_max)


def _traits(durable: Durable, lanes: int, message_bytes_max: int) -> Traits:
    return Traits(
        order=Order.KEY,
        ack=Ack.SINGLE,
        durable=durable,
        groups=Groups.MANY,
        lanes=lanes,
        replay=True,
        delay_ms_max=_TEN_YEARS_MS,
        message_bytes_max=message_bytes_max,
        batch_count_max=_BATCH_COUNT_MAX,
    )
