"""Readers of one group share what comes, also with one that never pauses."""

import asyncio
from pathlib import Path

from evermq.adapters.log.place import LogPlace
from evermq.message import MessageFactory

_ROUNDS = 50


async def test_reader_that_never_pauses_leaves_something_to_one_that_waits(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path)
    queue = await place.queue("orders")
    make = MessageFactory()
    greedy, modest = await queue.reader("billing"), await queue.reader("billing")
    handled = {"greedy": 0, "modest": 0}

    async def handle_all() -> None:
        while True:
            found = await greedy.read(count_max=500, wait_ms=60_000)
            handled["greedy"] += len(found)
            await greedy.ack(found)

    async def handle_some() -> None:
        while True:
            found = await modest.read(count_max=5, wait_ms=60_000)
            handled["modest"] += len(found)
            await asyncio.sleep(0)  # it has something else to do, as a process beyond a socket has
            await modest.ack(found)

    tasks = [asyncio.create_task(handle_all()), asyncio.create_task(handle_some())]
    for _ in range(_ROUNDS):
        await queue.append([make(b"body", key=f"key-{number}") for number in range(10)])
    while await queue.backlog("billing"):
        await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await place.close()
    assert handled["modest"] >= _ROUNDS, handled
    assert handled["greedy"] >= _ROUNDS, handled
