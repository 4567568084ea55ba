"""What readers of a group share, over a proxy whose answers come bit by bit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from evermq.adapters.rocketmq.content import fill
from evermq.adapters.rocketmq.group import Group
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.adapters.rocketmq.protocol import service
from evermq.adapters.rocketmq.reader import RocketReader
from evermq.adapters.rocketmq.topic import Topic
from evermq.clock import SYSTEM
from evermq.message import MessageFactory

message = MessageFactory()


class Halting:
    """A proxy that hands out two messages of one key, the second of them when it is allowed to."""

    where, turn, timeout_s = "here", 0, 5.0

    def __init__(self) -> None:
        self.one_is_out, self.go_on = asyncio.Event(), asyncio.Event()

    async def receive(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        for text in ("first", "second"):
            wire = service.ReceiveMessageResponse().message
            fill(wire, message(text, key="k"))
            yield wire
            self.one_is_out.set()
            await self.go_on.wait()

    async def ask(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(receipt_handle="another")


async def test_reader_that_goes_while_messages_arrive_leaves_all_of_them_to_the_next() -> None:
    proxy, topic = Halting(), Topic("orders", "fifo", {"broker-a": 1})
    group = Group(SimpleNamespace(proxy=proxy, options=RocketOptions(), clock=SYSTEM), topic, "a%fifo")  # type: ignore[arg-type]
    group._session = SimpleNamespace(client="c", open=lambda: asyncio.sleep(0), close=lambda: asyncio.sleep(0))  # type: ignore[assignment]
    first = RocketReader(group, SYSTEM)
    reading = asyncio.create_task(first.read(count_max=9, wait_ms=60_000))
    await proxy.one_is_out.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await first.close()
    second = RocketReader(group, SYSTEM)
    proxy.go_on.set()
    found = await second.read(count_max=9, wait_ms=10_000)
    assert [each.message.body for each in found] == [b"first", b"second"]
    await second.close()
    await group.close()
