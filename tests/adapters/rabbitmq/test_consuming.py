"""What a channel tells its server, and what it tells its reader, without any server."""

from __future__ import annotations

import asyncio
from typing import Any

from aiormq.abc import ChannelFrame
from aiormq.connection import Connection
from pamqp import commands, frame

from evermq.adapters.rabbitmq.consuming import Consuming

LIMIT_S = 10


def channel(ended: Any = lambda: None, room: int = 0) -> Consuming:
    """room: frames that the connection takes before somebody writes them, 0 for as many as come."""
    connection = Connection("amqp://127.0.0.1:1/")
    connection.server_properties = {"capabilities": {"publisher_confirms": True}}
    connection.connection_tune = commands.Connection.Tune(frame_max=131_072)
    connection.write_queue = asyncio.Queue(room)
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


def written(consuming: Consuming) -> bytes:
    """The next frame, as the driver takes it."""
    payload: bytes = consuming.write_queue.get_nowait().payload
    consuming.write_queue.task_done()
    return payload


async def test_acknowledgement_that_waits_for_room_is_written_once_there_is_some() -> None:
    consuming = channel(room=1)
    consuming.write_queue.put_nowait(ChannelFrame(b"of somebody else", False))
    settling = asyncio.create_task(consuming.settle(7, []))
    await asyncio.sleep(0)
    assert written(consuming) == b"of somebody else"
    async with asyncio.timeout(LIMIT_S):
        await settling
    assert told(consuming) == [(7, True)]


async def test_acknowledgement_that_waits_for_room_is_not_written_once_its_channel_is_left() -> None:
    """The server would end the connection for a channel that it has not, or settle what another one was given by the
    same number."""
    consuming = channel(room=1)
    consuming.write_queue.put_nowait(ChannelFrame(b"of somebody else", False))
    settling = asyncio.create_task(consuming.settle(7, []))
    await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT_S):
        await consuming.close()
        written(consuming)
        await settling
    assert consuming.write_queue.empty()


async def test_acknowledgement_that_is_given_up_while_it_waits_for_room_is_written_all_the_same() -> None:
    """Its reader has struck those messages off: acknowledged again they are none of its own, and stay unsettled."""
    consuming = channel(room=1)
    consuming.write_queue.put_nowait(ChannelFrame(b"of somebody else", False))
    settling = asyncio.create_task(consuming.settle(7, []))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait([settling])
    assert settling.cancelled()
    written(consuming)
    async with asyncio.timeout(LIMIT_S):
        while consuming.write_queue.empty():
            await asyncio.sleep(0)
    assert told(consuming) == [(7, True)]


async def test_acknowledgement_that_waits_for_a_connection_that_is_lost_waits_no_longer() -> None:
    consuming = channel(room=1)
    consuming.write_queue.put_nowait(ChannelFrame(b"of somebody else", False))
    settling = asyncio.create_task(consuming.settle(7, []))
    await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT_S):
        await consuming.close(ConnectionResetError("lost"))
        await settling
