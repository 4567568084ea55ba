"""The message in which the topics stand, where whoever holds it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp import commands
from pamqp.header import ContentHeader

from evermq.adapters.rabbitmq.registry import Registry


class Channel:
    """Holds the message until it is closed."""

    delivery_tag = 0

    def __init__(self) -> None:
        self.connection = object()
        self.closes, self.may_close, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._left = [b"{}"]

    async def basic_get(self, queue: str) -> DeliveredMessage:
        found = commands.Basic.GetOk(delivery_tag=1) if self._left else commands.Basic.GetEmpty()
        return DeliveredMessage(found, ContentHeader(), self._left.pop() if self._left else b"", self)  # type: ignore[arg-type]

    async def close(self) -> None:
        self.closes.set()
        await self.may_close.wait()
        self.closed.set()


class Link:
    def __init__(self) -> None:
        self.opened = Channel()

    async def channel(self, kind: object, *, publisher_confirms: bool) -> Channel:
        return self.opened

    async def ask(self, asking: Awaitable[Any], doing: str) -> Any:
        return await asking


class Control:
    async def exists(self, queue: str) -> bool:
        return True


async def test_list_of_topics_is_given_back_where_its_reader_is_given_up_meanwhile() -> None:
    """Else nobody could look at any topic or change one, until this process had lost its connection."""
    link: Any = Link()
    control: Any = Control()
    looking = asyncio.create_task(Registry("topics", control, link, 1_000).topics())
    async with asyncio.timeout(10):
        await link.opened.closes.wait()
        looking.cancel()
        await asyncio.wait([looking])
        assert looking.cancelled()
        link.opened.may_close.set()
        await link.opened.closed.wait()
