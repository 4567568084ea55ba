"""An end goes on when its caller gives up, and comes once."""

from __future__ import annotations

import asyncio

import pytest

from evermq.ending import Ending
from evermq.errors import Unavailable


class Door:
    """What is to be closed: it takes until it may."""

    def __init__(self) -> None:
        self.may_close = asyncio.Event()
        self.closed = 0

    async def close(self) -> None:
        await self.may_close.wait()
        self.closed += 1


async def test_end_that_a_caller_gave_up_goes_on_and_is_waited_for_by_the_next() -> None:
    door, ending = Door(), Ending()
    first = asyncio.create_task(ending.reach(door.close))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    second = asyncio.create_task(ending.reach(door.close))
    await asyncio.sleep(0)
    assert not second.done()
    door.may_close.set()
    await second
    await ending.reach(door.close)
    assert door.closed == 1


async def test_what_an_end_raises_is_told_to_all_who_ask() -> None:
    async def fail() -> None:
        raise Unavailable("the engine is away")

    ending = Ending()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await ending.reach(fail)
