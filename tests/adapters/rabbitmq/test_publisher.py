"""What becomes of appends that wait for their turn to be written, without any server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiormq.abc import ChannelFrame
from aiormq.connection import Connection
from pamqp import commands

from evermq.adapters.rabbitmq.publisher import Publisher
from evermq.adapters.rabbitmq.publishing import Publishing
from evermq.adapters.rabbitmq.topic import Topic
from evermq.errors import Unavailable
from evermq.message import MessageFactory
from evermq.position import Position

message = MessageFactory()
ROOM = 1  # frames that the connection takes before somebody writes them


class Link:
    """A link whose connection is written to by nobody until `write` is called."""

    where = "here"

    def __init__(self) -> None:
        self.connection = Connection("amqp://127.0.0.1:1/")
        self.connection.server_properties = {"capabilities": {"publisher_confirms": True}}
        self.connection.connection_tune = commands.Connection.Tune(frame_max=131_072)
        self.connection.write_queue = asyncio.Queue(ROOM)
        self.connection.ready = self._ready  # type: ignore[method-assign]
        self.opened: list[Publishing] = []
        self.dropped = 0

    async def _ready(self) -> None:
        pass

    async def channel(self, kind: type[Publishing]) -> Publishing:
        self.opened.append(kind(self.connection, 1))
        return self.opened[-1]

    def drop(self, connection: Connection) -> None:
        self.dropped += 1

    def write(self) -> ChannelFrame:
        frame: ChannelFrame = self.connection.write_queue.get_nowait()
        return frame

    async def confirm(self, tag: int) -> None:
        await self.opened[-1]._on_confirm_frame(commands.Basic.Ack(tag, multiple=True))


@pytest.fixture
async def link() -> Any:
    return Link()


def publisher(link: Any, timeout_ms: int) -> Publisher:
    return Publisher(Topic("orders", 1, ("a",)), link, timeout_ms)


async def test_append_that_never_gets_its_turn_is_unavailable_and_leaves_nothing_behind(link: Link) -> None:
    appends = publisher(link, 20)
    link.connection.write_queue.put_nowait(ChannelFrame(b"of somebody else", False))
    with pytest.raises(Unavailable, match="nothing was sent"):
        await appends.append([message("x")])
    assert link.dropped
    link.write()
    again = asyncio.create_task(appends.append([message("y")]))
    await asyncio.sleep(0)
    while link.connection.write_queue.empty():
        await asyncio.sleep(0)
    await link.confirm(1)  # the server counts what it was sent
    assert await again == [Position("0", None)]


async def test_rest_of_a_batch_that_never_gets_its_turn_is_told_apart_from_its_first(link: Link) -> None:
    appends = publisher(link, 200)
    appending = asyncio.create_task(appends.append([message("x"), message("y"), message("z")]))
    while link.connection.write_queue.empty():
        await asyncio.sleep(0)
    await link.confirm(1)  # it still stands there, so that the others have no room
    first, *others = await appending
    assert first == Position("0", None)
    assert [type(each) for each in others] == [Unavailable, Unavailable]
