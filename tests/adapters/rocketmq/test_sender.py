"""What becomes of an append whose request fails in a way that nobody listed."""

import asyncio
from typing import Any

from evermq.adapters.rocketmq.sender import Sender
from evermq.errors import Uncertain
from evermq.message import MessageFactory


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
