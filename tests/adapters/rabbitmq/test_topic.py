"""The channel over which topics are made and looked at, where several ask at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from typing import Any

import pytest
from aiormq.channel import Channel as DriverChannel
from aiormq.connection import Connection
from pamqp import commands

from evermq.adapters.rabbitmq.link import Link as RealLink
from evermq.adapters.rabbitmq.link import Login
from evermq.adapters.rabbitmq.topic import Control, QueueState
from evermq.errors import Unavailable


class Channel:
    is_closed = False

    async def rpc(self, frame: object) -> Any:
        return commands.Queue.DeclareOk(queue="orders", message_count=3, consumer_count=1)


class Link:
    def __init__(self) -> None:
        self.opened: list[Channel] = []

    async def channel(self, kind: object, *, publisher_confirms: bool) -> Channel:
        await asyncio.sleep(0)  # the server answers
        self.opened.append(Channel())
        return self.opened[-1]

    async def ask(self, asking: Awaitable[Any], doing: str, *, patient: bool = False) -> Any:
        return await asking


async def test_those_who_ask_at_once_after_an_error_has_closed_the_channel_share_a_new_one() -> None:
    """The others would stay open with nobody to use them: a connection has so many and no more."""
    link: Any = Link()
    control = Control(link)
    for opened in (1, 2):
        assert await asyncio.gather(*(control.exists("orders") for _ in range(3))) == [True] * 3
        assert len(link.opened) == opened
        link.opened[-1].is_closed = True


class Connected(Connection):
    """One that the driver takes for open, whose server answers by hand."""

    is_opened = True

    def __init__(self) -> None:
        super().__init__("amqp://127.0.0.1:1/")
        self.connection_tune = commands.Connection.Tune(frame_max=131_072)


class Played(RealLink):
    """Its channels are the driver's, and open."""

    def __init__(self, timeout_ms: int = 60_000) -> None:
        super().__init__(Login([("127.0.0.1", 1)], "/", "guest", "guest", None, 60, timeout_ms), "test")
        self.opened: list[DriverChannel] = []

    async def channel(self, kind: Any, **_: Any) -> Any:
        channel = DriverChannel(Connected(), 1, publisher_confirms=False)
        channel._Channel__open_sent = True  # type: ignore[attr-defined]
        self.opened.append(channel)
        return channel

    async def asked(self) -> None:
        """A request was written."""
        while not self.opened:
            await asyncio.sleep(0)
        await self.opened[-1].write_queue.get()

    def answer(self, count: int) -> None:
        frame = commands.Queue.DeclareOk(queue="orders", message_count=count, consumer_count=0)
        self.opened[-1].frames.put_nowait((0, frame))


async def test_request_that_is_given_up_leaves_the_channel_to_the_others() -> None:
    """The driver closes a channel for it, and who asked meanwhile, or next, would be told that it is gone."""
    link = Played()
    control = Control(link)
    given_up, waits = [asyncio.create_task(control.state("orders")) for _ in range(2)]
    async with asyncio.timeout(10):
        await link.asked()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        link.answer(1)
        await link.asked()
        link.answer(2)
        assert await waits == QueueState(2, 0)
        next_one = asyncio.create_task(control.state("orders"))
        await link.asked()
        link.answer(3)
        assert await next_one == QueueState(3, 0)
    assert len(link.opened) == 1


async def test_error_of_one_request_is_none_of_those_that_wait_behind_it() -> None:
    """The driver ends all that wait for a channel with what closed it: queues that exist were said to be gone."""
    link = Played()
    control = Control(link)
    missing, there = [asyncio.create_task(control.exists(queue)) for queue in ("missing", "orders")]
    async with asyncio.timeout(10):
        await link.asked()
        link.opened[-1].frames.put_nowait((0, commands.Channel.Close(404, "no queue")))
        assert not await missing
        while len(link.opened) < 2 and not there.done():
            await asyncio.sleep(0)
        if len(link.opened) == 2:
            await link.asked()
            link.answer(1)
        assert await there


async def test_request_that_was_not_asked_for_the_sake_of_others_says_so() -> None:
    link = Played(timeout_ms=1)
    control = Control(link)
    async with control._turn:
        with pytest.raises(Unavailable, match="not asked"):
            await control.exists("orders")
    assert not link.opened


async def test_request_that_fails_after_it_was_given_up_is_no_error_of_the_program() -> None:
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))
    link = Played()
    asking = asyncio.create_task(Control(link).state("orders"))
    async with asyncio.timeout(10):
        await link.asked()
        asking.cancel()
        await asyncio.wait([asking])
        link.opened[-1].frames.put_nowait((0, commands.Channel.Close(404, "no queue")))
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others)
    del asking, others
    gc.collect()
    assert not said
