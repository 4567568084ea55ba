"""Readers of one group in several event loops: what one looks at, another one changes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import RLock, Thread
from typing import Any

import pytest

from evermq.adapters.log.lane_cursor import Park
from evermq.adapters.log.place import LogPlace
from evermq.message import MessageFactory

WAITS_S = 0.02

make = MessageFactory()


class Changing(dict[Any, Any]):
    """Another thread changes it while it is looked at, if the lock lets it."""

    lock: RLock
    change: Callable[[], None]

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        for value in super().values():
            self._elsewhere()
            yield value

    def items(self) -> Iterator[Any]:  # type: ignore[override]
        for item in super().items():
            self._elsewhere()
            yield item

    def _elsewhere(self) -> None:
        thread = Thread(target=self._change)
        thread.start()
        thread.join()

    def _change(self) -> None:
        if self.lock.acquire(timeout=WAITS_S):
            try:
                self.change()
            finally:
                self.lock.release()


async def opened(path: Path) -> tuple[LogPlace, Any, Any]:
    place = await LogPlace.open(path, lanes=1)
    queue = await place.queue("orders")
    readers = [await queue.reader("shipping") for _ in range(2)]
    return place, readers[0], readers[0]._group


@pytest.mark.parametrize("name", ["parks", "readers"])
async def test_reader_that_waits_looks_at_its_group_while_no_other_changes_it(tmp_path: Path, name: str) -> None:
    place, reader, group = await opened(tmp_path)
    cursor = group.cursors[0]
    changing = Changing(group.readers) if name == "readers" else Changing({b"a key": Park(1 << 62, [0])})
    changing.lock = place.lock
    changing.change = lambda: changing.update({object(): {} if name == "readers" else Park(1 << 62, [1])})
    setattr(group if name == "readers" else cursor, name, changing)
    assert await reader.read(count_max=1, wait_ms=500) == []
    await place.close()


async def test_reader_whose_loop_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    place = await LogPlace.open(tmp_path, lanes=1)
    queue = await place.queue("orders")

    async def read_and_vanish() -> None:
        reader = await queue.reader("shipping")
        await reader.read(count_max=1, wait_ms=0)

    await queue.append([make("a lamp")])
    await asyncio.to_thread(asyncio.run, read_and_vanish())
    reader = await queue.reader("shipping")
    await reader.close()
    await place.close()
