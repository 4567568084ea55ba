"""A topic as RabbitMQ has it: names, and the declarations that make it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple

from aiormq.channel import Channel
from pamqp import commands
from pamqp.base import Frame
from pamqp.common import FieldTable

from evermq.adapters.rabbitmq.link import Link
from evermq.errors import NoSuchTopic, Unavailable, Uncertain

__all__ = ["Control", "QueueState", "Topic", "line_of", "queue_of", "queues_of"]

# Quorum queues count deliveries, and drop what was delivered too often where a limit is set: in RabbitMQ 4 it is 20 by
# default. How often a message is tried is the reader's business, so the limit is out of reach.
_QUEUE: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
_LANE: FieldTable = {**_QUEUE, "x-single-active-consumer": True}


class Topic(NamedTuple):
    """What stands in the registry of a topic."""

    name: str
    lanes: int
    groups: tuple[str, ...]


class QueueState(NamedTuple):
    """ready: messages that no reader has. consumers: readers of the lane, the waiting ones included."""

    ready: int
    consumers: int


def line_of(topic: str, group: str) -> str:
    """The queue that the readers of a group stand at and nobody writes to: of a lane's queue RabbitMQ counts the active
    one only, of this one all."""
    return f"{topic}:{group}:readers"


def queue_of(topic: str, group: str, lane: int) -> str:
    """The queue of a lane of a group; no name of a topic or group has a colon."""
    return f"{topic}:{group}:{lane}"


def queues_of(topic: Topic, group: str) -> list[str]:
    """All of a group, the one that its readers stand at last."""
    return [*(queue_of(topic.name, group, lane) for lane in range(topic.lanes)), line_of(topic.name, group)]


class Control:
    """Declares and deletes, over a channel that is opened again after an error has closed it.

    One request at a time: the driver ends all that wait for a channel with the error that one of them closed it by."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._turn = asyncio.Lock()

    async def make(self, topic: Topic) -> None:
        """Exchange, queues and bindings; what exists is kept. Raises Misconfigured for one that is of another kind."""
        doing = f"make topic {topic.name}"
        await self._ask(commands.Exchange.Declare(exchange=topic.name, exchange_type="direct", durable=True), doing)
        for group in topic.groups:
            await self.make_queue(line_of(topic.name, group), None, doing)
            for lane in range(topic.lanes):
                await self.make_queue(queue_of(topic.name, group, lane), _LANE, doing)
                bind = commands.Queue.Bind(
                    queue=queue_of(topic.name, group, lane), exchange=topic.name, routing_key=str(lane)
                )
                await self._ask(bind, doing)

    async def make_queue(self, name: str, arguments: FieldTable | None, doing: str) -> None:
        """A durable quorum queue, if it does not exist."""
        declare = commands.Queue.Declare(queue=name, durable=True, arguments=arguments or _QUEUE)
        await self._ask(declare, doing)

    async def drop(self, topic: Topic) -> None:
        """The exchange first, so that nobody appends to what is going."""
        doing = f"drop topic {topic.name}"
        await self._ask(commands.Exchange.Delete(exchange=topic.name), doing)
        for group in topic.groups:
            await self.drop_group(topic, group)

    async def drop_group(self, topic: Topic, group: str) -> None:
        """Its queues, with what is in them."""
        for queue in queues_of(topic, group):
            with suppress(NoSuchTopic):
                await self._ask(commands.Queue.Delete(queue=queue), f"drop group {group} of topic {topic.name}")

    async def is_read(self, topic: Topic, group: str) -> bool:
        """Whether a group has readers, wherever they are."""
        for queue in queues_of(topic, group):
            with suppress(NoSuchTopic):
                if (await self.state(queue)).consumers:
                    return True
        return False

    async def state(self, queue: str) -> QueueState:
        """Raises NoSuchTopic."""
        found = await self._ask(commands.Queue.Declare(queue=queue, passive=True), f"look at queue {queue}")
        return QueueState(found.message_count, found.consumer_count)

    async def exists(self, queue: str) -> bool:
        """Whether there is such a queue."""
        try:
            await self.state(queue)
        except NoSuchTopic:
            return False
        return True

    async def _ask(self, frame: Frame, doing: str) -> Any:
        """Raises Unavailable for what may be asked again: all of this may.

        It goes on where who asked gives up: the driver would close the channel for that."""
        try:
            await self._link.ask(self._turn.acquire(), doing, patient=True)
        except Uncertain as error:
            where = self._link.where
            raise Unavailable(f"rabbitmq {where}: {doing}: not asked: what others ask has no answer yet") from error
        asking = asyncio.create_task(self._answer(frame, doing))
        asking.add_done_callback(self._answered)
        try:
            return await asyncio.shield(asking)
        except Uncertain as error:
            raise Unavailable(str(error)) from error

    async def _answer(self, frame: Frame, doing: str) -> Any:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._link.channel(Channel, publisher_confirms=False)
        try:
            return await self._link.ask(self._channel.rpc(frame), doing)
        except BaseException:
            self._channel = None  # it is closed, or will be
            raise

    def _answered(self, asked: asyncio.Task[Any]) -> None:
        self._turn.release()
        if not asked.cancelled():
            asked.exception()  # it was told where somebody still waited
