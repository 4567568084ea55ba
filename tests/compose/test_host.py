"""What the slots of a host take on its disk, once all that was in them has gone up."""

from __future__ import annotations

import asyncio
from pathlib import Path

from evermq.adapters.log.place import LogPlace
from evermq.adapters.memory import MemoryQueue
from evermq.compose.host import host_rung
from evermq.ha.host_rung import HostRung
from evermq.message import MessageFactory

SEGMENTS = "slots/orders/*/log/segment-*"


async def fill(rung: HostRung) -> None:
    make = MessageFactory()
    for _ in range(60):
        await rung.append([make(bytes(10_000))])


async def test_slot_keeps_nothing_of_what_was_pumped(tmp_path: Path) -> None:
    rung = host_rung(f"log://{tmp_path}/orders?segment_bytes=65536")
    await fill(rung)
    assert len(list(tmp_path.glob(SEGMENTS))) > 5
    rung.start(MemoryQueue("orders"))
    async with asyncio.timeout(20):
        while not rung.is_empty:
            await asyncio.sleep(0.01)
    await rung.close()
    assert len(list(tmp_path.glob(SEGMENTS))) == 1, "the last one, which is written"


async def test_slot_that_was_emptied_by_another_process_keeps_nothing(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/orders?segment_bytes=65536"
    gone = host_rung(url, "till-7")
    await fill(gone)
    await gone.close()
    assert len(list(tmp_path.glob(SEGMENTS))) > 5
    rung = host_rung(url)
    rung.start(MemoryQueue("orders"))
    async with asyncio.timeout(20):
        while not rung.adopted:
            await asyncio.sleep(0.01)
    await rung.close()
    assert len(list(tmp_path.glob(SEGMENTS))) == 1


async def test_dead_letters_that_several_pumps_are_the_first_to_open_are_left_to_others_with_the_rung(
    tmp_path: Path,
) -> None:
    rung, make = host_rung(f"log://{tmp_path}/orders"), MessageFactory()
    dead = rung._dead
    assert dead is not None
    await asyncio.gather(*(dead.append([make(b"refused")]) for _ in range(2)))
    await rung.close()
    other = await LogPlace.open(tmp_path)  # raises where somebody owns it still
    assert (await other.describe("orders.pump.dead")).appended == 2
    await other.close()
