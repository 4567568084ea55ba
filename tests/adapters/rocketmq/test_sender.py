"""What becomes of appends: where a request fails in a way that nobody listed, and where one comes as another ends."""

import asyncio
from types import SimpleNamespace
from typing import Any

from evermq.adapters.rocketmq.protocol import service
from evermq.adapters.rocketmq.sender import Sender
from evermq.errors import Uncertain
from evermq.message import MessageFactory
from evermq.position import Position


class Broken:
    """A proxy with a defect."""

    async def ask(self, *_: Any) -> Any:
        raise KeyError("nobody listed this")


async def test_error_that_nobody_listed_leaves_the_outcome_open_and_nobody_waiting() -> None:
    sender = Sender(Broken(), "orders", "orders", "normal", requests_max=2)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        outcomes = await sender.append([MessageFactory()("a"), MessageFactory()("b")], [1, 1], [])
        await sender.close()
    assert [type(each) for each in outcomes] == [Uncertain, Uncertain]


class Gated:
    """A proxy that answers when it may."""

    def __init__(self) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def ask(self, *_: Any) -> Any:
        self.asked.set()
        await self.may_answer.wait()
        return SimpleNamespace(entries=[service.SendResultEntry(offset=7)])

    def check(self, *_: Any) -> None:
        pass


async def test_append_that_comes_in_the_moment_in_which_the_last_request_ends_waits_for_nobody() -> None:
    """Whoever sent has seen that nothing waits: this one is sent all the same, though nobody appends after it."""
    proxy: Any = Gated()
    sender = Sender(proxy, "orders", "orders", "fifo", requests_max=1)
    first = asyncio.create_task(sender.append([MessageFactory()("a")], [1], []))
    await proxy.asked.wait()
    proxy.may_answer.set()  # in the same turn of the loop, the answer comes and another task appends
    second = asyncio.create_task(sender.append([MessageFactory()("b")], [1], []))
    async with asyncio.timeout(5):
        assert [*await first, *await second] == [Position("0", 7)] * 2
        await sender.close()
