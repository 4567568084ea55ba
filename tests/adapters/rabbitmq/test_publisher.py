"""What becomes of appends that wait for their turn to be written, without any server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiormq.abc import ChannelFrame
from aiormq.connection import Connection
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from evermq.adapters.rabbitmq.publisher import Publisher
from evermq.adapters.rabbitmq.publishing import Publishing
from evermq.adapters.rabbitmq.topic import Topic
from evermq.errors import NoSuchTopic, Unavailable, Uncertain
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
        self.connection.write_queue.task_done()
        return frame

    async def confirm(self, tag: int, *, multiple: bool = True) -> None:
        await self.opened[-1]._on_confirm_frame(commands.Basic.Ack(tag, multiple=multiple))

    async def refuse(self, tag: int) -> None:
        await self.opened[-1]._on_confirm_frame(commands.Basic.Nack(tag, multiple=False))


@pytest.fixture
async def link() -> Any:
    return Link()


def publisher(link: Any, timeout_ms: int, *groups: str) -> Publisher:
    return Publisher(Topic("orders", 1, groups or ("a",)), link, timeout_ms)


async def sent(link: Link, appends: Publisher, *bodies: str) -> asyncio.Task[Any]:
    """On its way, behind one that was confirmed."""
    if not link.opened:
        first = asyncio.create_task(appends.append([message("first")]))
        await written(link)
        await link.confirm(1)
        await first
    appending = asyncio.create_task(appends.append([message(body, id=body) for body in bodies]))
    await written(link)
    return appending


async def written(link: Link) -> None:
    while link.connection.write_queue.empty():
        await asyncio.sleep(0)
    link.write()


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


@pytest.mark.parametrize(("groups", "kind"), [(("a",), Unavailable), (("a", "b"), Uncertain)])
async def test_what_a_queue_refuses_is_told_apart_from_what_it_took(
    link: Link, groups: tuple[str, ...], kind: type[Exception]
) -> None:
    """The queue of another group may have taken it."""
    appending = await sent(link, publisher(link, 10_000, *groups), "x", "y", "z")
    await link.confirm(4, multiple=False)
    await link.refuse(3)
    assert not appending.done()
    await link.confirm(2, multiple=False)
    x, y, z = await appending
    assert (x, type(y), z) == (Position("0", None), kind, Position("0", None))


async def test_message_that_came_back_once_is_taken_when_it_is_sent_again(link: Link) -> None:
    appends = publisher(link, 10_000)
    appending = await sent(link, appends, "x", "y")
    link.opened[-1]._returned["x"] += 1
    await link.confirm(3)
    x, y = await appending
    assert (type(x), y) == (NoSuchTopic, Position("0", None))
    again = await sent(link, appends, "x")
    await link.confirm(4)
    assert await again == [Position("0", None)]


async def test_channel_that_is_closed_says_nothing_of_what_was_on_its_way(link: Link) -> None:
    """But for one that was there alone: the server closed it for the sake of that one."""
    appends = publisher(link, 10_000)
    appending = await sent(link, appends, "x", "y", "z")
    await link.confirm(2)
    link.opened[-1]._ended.set_exception(ChannelNotFoundEntity("no exchange"))
    x, *others = await appending
    assert x == Position("0", None)
    assert [type(each) for each in others] == [Uncertain, Uncertain]

    alone = asyncio.create_task(publisher(link, 10_000).append([message("x")]))
    await written(link)
    link.opened[-1]._ended.set_exception(ChannelNotFoundEntity("no exchange"))
    [outcome] = await alone
    assert isinstance(outcome, NoSuchTopic)


async def test_append_that_is_given_up_before_it_was_written_takes_no_number_of_the_next(link: Link) -> None:
    """What the server confirms would be told to somebody else."""
    appends = publisher(link, 10_000)
    first = await sent(link, appends, "x")
    link.connection.write_queue.put_nowait(ChannelFrame(b"of somebody else", False))
    given_up, stays = [asyncio.create_task(appends.append([message(body)])) for body in ("y", "z")]
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    link.write()
    await written(link)
    await link.confirm(2)
    assert await first == [Position("0", None)]
    assert not stays.done()
    await link.confirm(3)
    assert await stays == [Position("0", None)]


async def test_append_that_waits_for_room_is_not_written_once_its_channel_is_gone(link: Link) -> None:
    """Another channel by the same number would count it, and take the confirm of one message for that of the next."""
    appends = publisher(link, 10_000)
    first = await sent(link, appends, "x")
    link.connection.write_queue.put_nowait(ChannelFrame(b"of somebody else", False))
    waits = asyncio.create_task(appends.append([message("y")]))
    await asyncio.sleep(0)
    await link.opened[-1].close()
    link.write()
    [lost] = await first
    assert isinstance(lost, Uncertain)
    with pytest.raises(Unavailable):
        await waits
    assert link.connection.write_queue.empty()


class Connected(Connection):
    """One that the driver takes for open."""

    is_opened = True


async def opened(link: Link) -> Publisher:
    """A publisher whose channel the server has opened."""
    link.connection.write_queue = asyncio.Queue()
    appends = publisher(link, 10_000)
    await sent(link, appends, "x")
    link.connection.__class__ = Connected
    opening = asyncio.create_task(link.opened[-1].open())
    for answer in (commands.Channel.OpenOk(), commands.Confirm.SelectOk()):
        await link.opened[-1].frames.put((0, answer))
        await written(link)
    await opening
    return appends


async def test_close_that_is_cut_closes_its_channel_once(link: Link) -> None:
    """The server ends the connection, which is that of all topics, for a second time."""
    appends = await opened(link)
    for _ in range(2):
        closing = asyncio.create_task(appends.close())
        while link.connection.write_queue.empty():
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
    assert link.connection.write_queue.qsize() == 1
    closing = asyncio.create_task(appends.close())
    await link.opened[-1].frames.put((0, commands.Channel.CloseOk()))
    await closing
    assert link.connection.write_queue.qsize() == 1
    assert link.opened[-1].is_closed


async def test_channel_of_a_server_that_stopped_reading_is_left_to_its_connection(link: Link) -> None:
    """To wait for an answer would end in cutting the connection, with what the server will confirm yet."""
    appends = await opened(link)
    link.connection.ready = asyncio.Event().wait  # type: ignore[method-assign, assignment]
    await appends.close()
    assert link.connection.write_queue.empty()
    assert not link.dropped


async def test_connection_of_a_server_that_stopped_reading_is_kept(link: Link) -> None:
    """It said so, and will confirm once it has room."""
    appends = publisher(link, 50)
    appending = await sent(link, appends, "x")
    link.connection.ready = asyncio.Event().wait  # type: ignore[method-assign, assignment]
    [outcome] = await appending
    assert isinstance(outcome, Uncertain)
    assert not link.dropped
