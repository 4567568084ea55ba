"""Appends share the connections to a broker: what is under way on one does not keep the next request waiting."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from evermq.adapters.kafka.batch import Ticket
from evermq.adapters.kafka.link import Line, Lines
from evermq.adapters.kafka.request import Produce
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings
from evermq.batch import Batch
from evermq.message import MessageFactory

make = MessageFactory()


class Broker:
    """In place of the driver's client: leads all lanes, and answers when it may."""

    cluster = SimpleNamespace(leader_for_partition=lambda partition: 7, partitions_for_topic=lambda topic: [0, 1, 2])

    def __init__(self) -> None:
        self.got: list[tuple[Line, list[int]]] = []
        self.may_answer = asyncio.Event()

    async def ready(self, node: int, *, group: int) -> bool:
        return True

    def get_random_node(self) -> int:
        return 7

    async def send(self, node: int, request: Any, *, group: int = 0) -> Any:
        if not isinstance(request, Produce):
            return SimpleNamespace(error_code=0, producer_id=1, producer_epoch=0)
        [batches] = request._topics.values()
        lanes = [batch.lane for batch in batches]
        self.got.append((Line(node, group), lanes))
        await self.may_answer.wait()
        return SimpleNamespace(topics=[("orders", [(lane, 0, 0) for lane in lanes])])


async def sender_over(broker: Broker) -> Sender:
    made = Sender(Settings(bootstrap="h:1", send_ms_max=5_000))
    await made.client.close()
    made.client = broker
    return made


async def append(sender: Sender, lane: int) -> int:
    batch = Batch.of([make(b"x")])
    ticket = Ticket(batch, batch.columns, stamp_ms=1, bytes_max=1 << 20, compression=0)
    await sender.send("orders", ticket, {lane: [0]})
    return lane


async def test_request_takes_the_connection_on_which_least_is_under_way() -> None:
    lines = Lines()
    first, second = lines.take(7), lines.take(7)
    assert first.node == second.node == 7
    assert first.group != second.group
    assert lines.take(8) == Line(8, first.group)
    lines.leave(second)
    assert [lines.take(7), lines.take(7)] == [second, first]


async def test_lane_goes_over_the_other_connection_while_one_is_answered() -> None:
    broker = Broker()
    sender = await sender_over(broker)
    appends = []
    for lane in (0, 1):
        appends.append(asyncio.create_task(append(sender, lane)))
        while len(broker.got) <= lane:
            await asyncio.sleep(0)
    again = asyncio.create_task(append(sender, 0))  # a lane has one batch under way, however many connections there are
    for _ in range(20):
        await asyncio.sleep(0)
    (one, _), (two, _) = broker.got
    assert [lanes for _, lanes in broker.got] == [[0], [1]]
    assert one != two
    broker.may_answer.set()
    assert await asyncio.gather(*appends, again) == [0, 1, 0]
    assert [lanes for _, lanes in broker.got] == [[0], [1], [0]]
    assert not sender._lines._underway.total()
