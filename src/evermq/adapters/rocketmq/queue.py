"""A topic in RocketMQ behind the port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evermq.adapters.rocketmq.content import size_of
from evermq.adapters.rocketmq.halves import RocketHalves
from evermq.adapters.rocketmq.reader import RocketReader
from evermq.adapters.rocketmq.sender import LANE, Sender
from evermq.adapters.rocketmq.topic import Topic
from evermq.ending import Ending
from evermq.errors import (
    Closed,
    EvermqError,
    Misconfigured,
    NoSuchTopic,
    Partial,
    TooLarge,
    Unavailable,
    Unsupported,
)
from evermq.half import Check
from evermq.message import DELIVER_AT, Message, due_ms
from evermq.port import Start
from evermq.position import Position
from evermq.topics import check_group
from evermq.traits import Ack, Groups, Order, Traits

if TYPE_CHECKING:
    from evermq.adapters.rocketmq.place import RocketPlace

__all__ = ["BATCH_COUNT_MAX", "DELAY_MS_MAX", "RocketQueue"]

BATCH_COUNT_MAX = 4_096
DELAY_MS_MAX = 86_400_000 - 60_000  # maxDelayTimeMills of a proxy, and a minute for its clock
_STARTS = ("oldest", "newest", "time", "offset")


class RocketQueue:
    """See `Queue`."""

    scatters = True

    def __init__(self, topic: Topic, place: RocketPlace) -> None:
        self._topic = topic
        self._place = place
        self._sender = Sender(place.proxy, topic.name, topic.wire_name, topic.kind, place.options.requests_max)
        self._readers: list[RocketReader] = []
        self._halves: list[RocketHalves] = []
        self._closed = False
        self._ending = Ending()
        self._lanes = topic.lanes  # a trait stays as it was, whatever the topic gets
        self.name = topic.name

    @property
    def traits(self) -> Traits:
        fifo = self._topic.kind == "fifo"
        return Traits(
            order=Order.KEY if fifo else Order.NONE,
            ack=Ack.PREFIX if fifo else Ack.SINGLE,
            durable=self._place.durable,
            groups=Groups.MANY,
            lanes=self._lanes,
            replay=False,
            delay_ms_max=DELAY_MS_MAX if self._topic.kind == "delay" else 0,
            message_bytes_max=self._place.options.message_bytes_max,
            batch_count_max=BATCH_COUNT_MAX,
        )

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if not messages:
            return []
        if self._topic.kind == "transaction":
            raise Unsupported(
                f"topic {self.name} is TRANSACTION and takes half messages only: prepare them by queue.halves(check)"
            )
        if len(messages) > BATCH_COUNT_MAX:
            raise TooLarge(f"a batch of {len(messages)} messages is over batch_count_max = {BATCH_COUNT_MAX}")
        now_ms = self._place.clock.now_ms()
        sizes = [self._size(message) for message in messages]
        late = [at for at, each in enumerate(messages) if DELIVER_AT in each.headers and self._is_late(each, now_ms)]
        outcomes = await self._sender.append(messages, sizes, late)
        errors = [each for each in outcomes if isinstance(each, EvermqError)]
        if not errors:
            return outcomes
        if any(isinstance(each, NoSuchTopic) for each in errors) and await self._place.brokers_have(self.name):
            unknown = Unavailable(f"the brokers have topic {self.name}, but the proxy does not know it yet")
            outcomes = [unknown if isinstance(each, NoSuchTopic) else each for each in outcomes]
            errors = [each for each in outcomes if isinstance(each, EvermqError)]
        if len(errors) == len(outcomes) and len({type(each) for each in errors}) == 1:
            raise errors[0]
        raise Partial(outcomes)

    def _size(self, message: Message) -> int:
        size, bytes_max = size_of(message), self._place.options.message_bytes_max
        if size > bytes_max:
            raise TooLarge(
                f"message {message.id} of {size} bytes is over message_bytes_max = {bytes_max}: put large bodies "
                "elsewhere and send a reference"
            )
        return size

    def _is_late(self, message: Message, now_ms: int) -> bool:
        """Whether it waits for its time. Raises Rejected, Unsupported."""
        due = due_ms(message.headers)
        if due <= now_ms:
            return False
        if self._topic.kind != "delay":
            raise Unsupported(
                f"message {message.id}: topic {self.name} is {self._topic.kind.upper()} and delays nothing: make it "
                "with kind=delay, or give the topic delay = URL"
            )
        if due - now_ms > DELAY_MS_MAX:
            raise Unsupported(f"message {message.id}: RocketMQ delays by a day at most")
        return True

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> RocketReader:
        self._check()
        check_group(group)
        if start.at not in _STARTS:
            raise Misconfigured(f'start "{start.at}": give oldest, newest, time or offset')
        await self._place.begin(self._topic, group, start)
        reader = RocketReader(self._place.group(self._topic, group), self._place.clock)
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    async def halves(self, check: Check) -> RocketHalves:
        """See `HoldsHalves`."""
        self._check()
        if self._topic.kind != "transaction":
            raise Unsupported(f"topic {self.name} has no half messages: make it with kind=transaction")
        halves = RocketHalves(self._place, self._topic, check, self._fits)
        await halves.open()
        self._halves.append(halves)
        return halves

    def _fits(self, message: Message) -> None:
        """Raises TooLarge, Rejected, Unsupported for what cannot be prepared."""
        self._size(message)
        if DELIVER_AT in message.headers:
            self._is_late(message, self._place.clock.now_ms())

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        await self._place.look(self._topic)
        return await self._place.backlog(self._topic, check_group(group), None if lane == LANE else lane)

    @property
    def is_over(self) -> bool:
        """Whether it was closed, to the end."""
        return self._ending.is_over

    async def close(self) -> None:
        self._closed = True
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        for reader in self._readers:
            await reader.close()
        for halves in self._halves:
            await halves.close()
        await self._sender.close()

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")
