"""A topic in RabbitMQ behind the port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evermq.adapters.rabbitmq.content import size_of
from evermq.adapters.rabbitmq.publisher import Publisher
from evermq.adapters.rabbitmq.reader import RabbitReader
from evermq.adapters.rabbitmq.topic import Topic
from evermq.errors import Closed, EvermqError, Misconfigured, NoSuchTopic, Partial, TooLarge, Unsupported
from evermq.message import DELIVER_AT, Message, due_ms
from evermq.port import Start
from evermq.position import Position
from evermq.topics import check_group
from evermq.traits import Ack, Durable, Groups, Order, Traits

if TYPE_CHECKING:
    from evermq.adapters.rabbitmq.place import RabbitPlace

__all__ = ["BATCH_COUNT_MAX", "RabbitQueue"]

BATCH_COUNT_MAX = 4_096
_STARTS = ("oldest", "newest", "time", "offset")


class RabbitQueue:
    """See `Queue`."""

    def __init__(self, topic: Topic, place: RabbitPlace, publisher: Publisher, durable: Durable) -> None:
        self._topic = topic
        self._place = place
        self._publisher = publisher
        self._durable = durable
        self._readers: list[RabbitReader] = []
        self._closed = False
        self.is_over = False
        self.name = topic.name

    @property
    def traits(self) -> Traits:
        return Traits(
            order=Order.KEY,
            ack=Ack.SINGLE,
            durable=self._durable,
            groups=Groups.MANY,
            lanes=self._topic.lanes,
            replay=False,
            delay_ms_max=0,
            message_bytes_max=self._place.message_bytes_max,
            batch_count_max=BATCH_COUNT_MAX,
        )

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self._check()
        if not messages:
            return []
        self._check_batch(messages)
        outcomes = await self._publisher.append(messages)
        errors = [each for each in outcomes if isinstance(each, EvermqError)]
        if not errors:
            return outcomes  # type: ignore[return-value]
        if len(errors) == len(outcomes) and len({type(each) for each in errors}) == 1:
            raise errors[0]
        raise Partial(outcomes)

    def _check_batch(self, messages: Sequence[Message]) -> None:
        if len(messages) > BATCH_COUNT_MAX:
            raise TooLarge(f"a batch of {len(messages)} messages is over batch_count_max = {BATCH_COUNT_MAX}")
        bytes_max, now_ms = self._place.message_bytes_max, self._place.clock.now_ms()
        for message in messages:
            size = size_of(message)
            if size > bytes_max:
                raise TooLarge(
                    f"message {message.id} of {size} bytes is over message_bytes_max = {bytes_max} (max_message_size "
                    "of the server): put large bodies elsewhere and send a reference"
                )
            if message.headers and DELIVER_AT in message.headers:
                _check_due(message, now_ms)

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> RabbitReader:
        self._check()
        check_group(group)
        if start.at not in _STARTS:
            raise Misconfigured(f'start "{start.at}": give oldest, newest, time or offset')
        await self._find(group)
        reader = self._place.readers(self._topic, group).open()
        self._readers = [each for each in self._readers if not each.closed]
        self._readers.append(reader)
        return reader

    async def backlog(self, group: str, lane: str | None = None) -> int:
        self._check()
        await self._find(group)
        lanes = range(self._topic.lanes)
        if lane is not None:
            lanes = [each for each in lanes if str(each) == lane]  # type: ignore[assignment]
            if not lanes:
                raise Misconfigured(f'lane "{lane}": {self.name} has lanes 0 to {self._topic.lanes - 1}')
        return await self._place.backlog(self._topic, group, lanes)

    async def close(self) -> None:
        """Again it does what is left of a close that was cut."""
        self._closed = True
        for reader in self._readers:
            await reader.close()
        await self._publisher.close()
        self.is_over = True

    async def _find(self, group: str) -> None:
        if group not in self._topic.groups:
            self._topic = await self._place.find(self.name)
        if group not in self._topic.groups:
            raise NoSuchTopic(
                f"topic {self.name} has no group {group}, and RabbitMQ keeps nothing for one that is bound later: "
                f"evermq topics create URL --groups {','.join([*self._topic.groups, group])}"
            )

    def _check(self) -> None:
        if self._closed:
            raise Closed(f"queue {self.name} was closed: open it again")


def _check_due(message: Message, now_ms: int) -> None:
    if due_ms(message.headers) > now_ms:
        raise Unsupported(f"message {message.id}: RabbitMQ delays nothing by itself: give the topic delay = URL")
