"""The channel over which topics are made and looked at, where several ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from pamqp import commands

from evermq.adapters.rabbitmq.topic import Control


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

    async def ask(self, asking: Awaitable[Any], doing: str) -> Any:
        return await asking


async def test_those_who_ask_at_once_after_an_error_has_closed_the_channel_share_a_new_one() -> None:
    """The others would stay open with nobody to use them: a connection has so many and no more."""
    link: Any = Link()
    control = Control(link)
    for opened in (1, 2):
        assert await asyncio.gather(*(control.exists("orders") for _ in range(3))) == [True] * 3
        assert len(link.opened) == opened
        link.opened[-1].is_closed = True
