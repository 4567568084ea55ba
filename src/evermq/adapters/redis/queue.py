"""A topic in Redis behind the port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from evermq.adapters.redis.appending import BATCH_COUNT_MAX, DELAY_MS_MAX, Batch, Landed, assemble
from evermq.adapters.redis.lane import Lane
from evermq.adapters.redis.reader import RedisReader
from evermq.adapters.redis.script import Script, pack
from evermq.adapters.redis.topic import Topic
from evermq.adapters.redis.wire import Request
from evermq.errors import (
    Closed,
    EvermqError,
    Misconfigured,
    NoSuchTopic,
    Overloaded,
    Partial,
    Unavailable,
)
from evermq.fields import NOT_A_MESSAGE, refusal
from evermq.message import Message
from evermq.port import Start
from evermq.position import Position, Run
from evermq.topics import check_group
from evermq.traits import Ack, Groups, Order, Traits

__all__ = ["RedisQueue"]

_APPEND = Script.load("append", "sld")
_STARTS = ("oldest", "newest", "time", "offset")
_STALE = (-1, -3)  # the lane is not of this topic, or was closed: the topic has changed
_NO_GROUP = -2
_TRIES = 3


class RedisQueue:
    """See `Queue`."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._turn = 0
        self._readers: list[RedisReader] = []
        self._closed = False
        self.is_over = False
        self._in_turn = True
        self.name = topic.name

    @property
    def traits(self) -> Traits:
        return Traits(
            order=Order.KEY,
            ack=Ack.SINGLE,
            durable=self._topic.wire.durable,
            groups=Groups.MANY,
            lanes=len(self._topic.lanes),
            replay=True,
            delay_ms_max=DELAY_MS_MAX,
            message_bytes_max=self._topic.options.message_bytes_max,
            batch_count_max=BATCH_COUNT_MAX,
        )

    @property
    def topic_id(self) -> str:
        """See `evermq.settling.Identified`."""
        return self._topic.id

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if not messages:
            return []
        topic = self._topic
        self._turn += _some_lack_a_key(messages)
        for _ in range(_TRIES):
            lanes = topic.lanes
            spare = self._turn % len(lanes)
            batch = assemble(messages, spare, lanes, topic.options, topic.clock.now_ms())
            shared = pack(topic.id, topic.options.lane_count_max)
            replies = await topic.wire.each(Request(_APPEND, batch.lanes, shared, batch.packed()), keeps=True)
            if not all(reply in _STALE for reply in replies):
                break
            await topic.reload()  # nothing was appended: the lane count changed, or the topic is gone
        if _NO_GROUP in replies:
            await topic.reload()  # perhaps it is just being made
        topic.wake()
        return self._outcome(messages, batch, replies)

    def _outcome(self, messages: Sequence[Message], batch: Batch, replies: list[Any]) -> Sequence[Position]:
        if all(isinstance(reply, list) for reply in replies):
            if len(batch.lanes) == 1 and not any(item.due_ms for item in batch.items[0]):
                return Run(batch.lanes[0].name, replies[0][0], len(messages))
            return Landed(len(messages), batch, replies)
        outcomes: list[Position | EvermqError] = list(Landed(len(messages), batch, replies))
        for lane, items, reply in zip(batch.lanes, batch.items, replies, strict=True):
            if not isinstance(reply, list):
                refusal = self._refusal(reply, lane)
                for row in (row for item in items for row in item.rows):
                    outcomes[row] = refusal
        errors = [each for each in outcomes if isinstance(each, EvermqError)]
        if len(errors) == len(messages) and len({type(error) for error in errors}) == 1:
            raise errors[0]
        raise Partial(outcomes)

    def _refusal(self, reply: Any, lane: Lane) -> EvermqError:
        if isinstance(reply, EvermqError):
            return reply
        topic = self._topic
        if reply == _NO_GROUP and not topic.groups:
            return NoSuchTopic(
                f"topic {self.name} has no group, so nobody would ever read this: evermq topics create URL --groups a,b"
            )
        if reply == -4:
            return Overloaded(
                f"lane {lane.name} of {self.name} keeps lane_count_max = {topic.options.lane_count_max} messages, "
                "counted from the first one that some group has not settled: read it, or what it waits for, raise the "
                "bound, or drop a group that nobody reads any more: evermq topics drop-group URL --group G"
            )
        return Unavailable(f"topic {self.name} is half made or is being changed: evermq topics create URL, once more")

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> RedisReader:
        self._check()
        check_group(group)
        if start.at not in _STARTS:
            raise Misconfigured(f'start "{start.at}": give oldest, newest, time or offset')
        topic = self._topic
        if group not in topic.groups:
            await topic.reload()
        if group not in topic.groups:
            if not topic.options.create:
                raise NoSuchTopic(
                    f"topic {self.name} has no group {group}, and a redis cannot make up later what it did not keep: "
                    f"evermq topics create URL --groups {','.join([*topic.groups, group])}"
                )
            await topic.join(group, start)
        reader = RedisReader(topic, group, in_turn=self._in_turn)
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    def read_at_once(self) -> None:
        """See `evermq.settling.Relaned`."""
        self._in_turn = False

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        await self._topic.reload()
        lanes = self._topic.every_lane
        if lane is not None:
            lanes = [each for each in lanes if each.name == lane]
            if not lanes:
                raise Misconfigured(f'lane "{lane}": {self.name} has lanes 0 to {len(self._topic.lanes) - 1}')
        return sum(_backlog(state, group, whole=lane is None) for state in await self._topic.state(lanes))

    async def end(self, lane: str) -> int:
        """See `evermq.settling.Bounded`. Raises Unavailable once the number of lanes was changed: a message may be in a
        lane of the number before, or of another name."""
        self._check()
        await self._topic.reload()
        if self._topic.epoch != 1:
            raise Unavailable(f"the lanes of {self.name} were changed: which of them would have a message is not known")
        found = [each for each in self._topic.every_lane if each.name == lane]
        states = await self._topic.state(found)
        return int(states[0][3]) if states and states[0] else 0

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(reader.close() for reader in self._readers))
        self.is_over = True

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


def _some_lack_a_key(messages: Sequence[Message]) -> bool:
    try:
        return any(message[1] is None for message in messages)
    except NOT_A_MESSAGE as error:
        raise refusal(messages, error) from error


def _backlog(state: list[Any], group: str, *, whole: bool) -> int:
    """Of one lane; a group that was never made has all that is kept."""
    if not state:
        return 0
    kept, delayed, _, _, *groups = state
    names = [name.decode() for name in groups[::3]]
    settled = groups[1::3][names.index(group)] if group in names else kept
    return int(settled) + (int(delayed) if whole else 0)
