"""A client that sends far more than its owner gets stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.adapters.remote.slow import Slow, served

from evermq.adapters.remote import server as serving
from evermq.errors import Overloaded
from evermq.message import MessageFactory

make = MessageFactory()
KIB = 1 << 10


async def test_owner_takes_no_more_bytes_than_it_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It held a thousand requests of each client, of whatever size; and goes on answering what is small."""
    monkeypatch.setattr(serving, "_BYTES_MAX", 1_000 * KIB)
    slow = Slow(monkeypatch)
    async with served(tmp_path / "socket") as (_, queue):
        large = make(bytes(1_200 * KIB))
        alone = asyncio.create_task(queue.append([large]))
        await slow.begun.acquire()
        with pytest.raises(Overloaded, match="send again"):
            await queue.append([make("a book")])
        assert await queue.backlog("g") == 0
        slow.may_go.set()
        await alone
        slow.may_go.clear()
        sending = [asyncio.create_task(queue.append([make(bytes(300 * KIB))])) for _ in range(10)]
        under_way = set(sending)
        while len(under_way) > 3:  # what three of them leave no room for
            _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        slow.may_go.set()
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, Overloaded)]
        assert len(refused) == 7
        assert await queue.backlog("g") == 4
