"""How much a reader holds of what waits."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.policy.test_ordered import Rung
from tests.policy.test_ordered_reader import Distance, ladder, make, read

from evermq.adapters.memory import MemoryQueue
from evermq.policy import ordered_reader
from evermq.progress.memory import MemoryProgress


async def test_what_waits_is_bounded_by_its_bytes_in_all_lanes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a rung is away all that the others carry may wait for what lies there, ten thousand messages a lane."""
    monkeypatch.setattr(ordered_reader, "_OVER_MS", 50, raising=False)
    primary, count = Rung(MemoryQueue("t", lanes=3)), 320
    queue = ladder(Distance(), MemoryProgress(), primary)
    body, keys = b"x" * (1 << 20), [str(key) for key in range(40)]
    await queue.append([make(b"first", key=key) for key in keys])
    primary.is_up = False
    reader = await queue.reader("g")
    async with asyncio.timeout(20):
        for _ in range(count // len(keys)):
            await queue.append([make(body, key=key) for key in keys])
        while reader.holding < count and not reader._gate.underway:
            assert await reader.read(count_max=50, wait_ms=10) == []
    assert 100 < reader.holding < 256
    primary.is_up = True
    found = await read(reader, count + len(keys))
    assert Counter(each.message.key for each in found) == dict.fromkeys([key.encode() for key in keys], 9)
    firsts = {each.message.key: each.message.body for each in reversed(found)}
    assert {*firsts.values()} == {b"first"}
    await queue.close()
