"""What a channel tells its server, and what it tells its reader, without any server."""

from __future__ import annotations

import asyncio
from typing import Any

from aiormq.connection import Connection
from pamqp import commands, frame

from evermq.adapters.rabbitmq.consuming import Consuming


def channel(ended: Any = lambda: None) -> Consuming:
    connection = Connection("amqp://127.0.0.1:1/")
    connection.server_properties = {"capabilities": {"publisher_confirms": True}}
    connection.connection_tune = commands.Connection.Tune(frame_max=131_072)
    connection.write_queue = asyncio.Queue()
    return Consuming(connection, 1, sink=lambda *_: None, ended=ended)


def told(consuming: Consuming) -> list[tuple[int, bool]]:
    """Tags that were acknowledged, and whether with all before them."""
    written = consuming.write_queue.get_nowait().payload
    found = []
    while written:
        size, _, ack = frame.unmarshal(written)
        assert isinstance(ack, commands.Basic.Ack)
        found.append((ack.delivery_tag, ack.multiple))
        written = written[size:]
    return found


async def test_prefix_is_acknowledged_as_one_and_what_is_beyond_by_itself() -> None:
    consuming = channel()
    await consuming.settle(7, [9, 12])
    assert told(consuming) == [(7, True), (9, False), (12, False)]
    await consuming.settle(0, [3])
    assert told(consuming) == [(3, False)], "all up to 0 would be all there are"
    await consuming.settle(0, [])
    assert consuming.write_queue.empty()


async def test_reader_is_told_when_its_queue_went_away() -> None:
    """It would wait for ever for what nobody sends."""
    ends: list[bool] = []
    consuming: Consuming = channel(lambda: ends.append(consuming.cancelled))
    for each in consuming.on_consumer_cancel_callbacks:
        each(commands.Basic.Cancel("evermq"))
    assert ends == [True]
