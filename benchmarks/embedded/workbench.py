"""One directory for a run: the log that all cases share, the raw segment, and room for the peers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle, islice
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.messages import make_batches
from embedded.slow_disk import SlowDisk
from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.system_disk import SystemDisk
from evermq.message import Message
from rig.progress import say

__all__ = ["Workbench"]

_STOCK_BATCHES = 400  # about 100 MB: more than a processor's cache, little enough for the page cache


class Workbench:
    """Use as a context; the directory is removed at the end. messages: see messages.py. recycled: whether the log is
    filled first, so that segments are recycled ones. writer: see LogOptions."""

    def __init__(self, directory: Path, messages: str, *, recycled: bool = True, writer: str = "thread") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix="evermq-benchmark-", dir=directory.resolve()))
        self.messages = messages
        self.recycled = recycled
        self._options = LogOptions(writer=writer)
        self._places: dict[str, LogPlace] = {}
        self._numbers = count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in self._places.values():
            place.shut()
        shutil.rmtree(self.directory)

    def path(self, name: str) -> Path:
        """A directory of its own for a contender."""
        path = self.directory / f"{name}-{next(self._numbers)}"
        path.mkdir()
        return path

    def place(self) -> LogPlace:
        """The log with default options, but for the writer."""
        if "log" not in self._places:
            opening = LogPlace.open(self.directory / "log", writer=self._options.writer)
            self._places["log"] = asyncio.run(opening)
            if self.recycled:
                say("filling the log once, so that its segments are recycled ones from now on")
                asyncio.run(_fill(self._places["log"]))
        return self._places["log"]

    def slow(self, slower_by_s: float) -> LogPlace:
        """A log with default options on a disk whose flushes take longer."""
        if "slow" not in self._places:
            disk = SlowDisk(SystemDisk(self.directory / "slow"), slower_by_s)
            self._places["slow"] = LogPlace(disk, self._options)
        return self._places["slow"]

    def stocked(self) -> LogPlace:
        """A log with default options whose topic `orders` holds messages of 1 KB, appended in batches of 256."""
        if "stocked" not in self._places:
            self._places["stocked"] = asyncio.run(LogPlace.open(self.directory / "stocked"))
            asyncio.run(_stock(self._places["stocked"], make_batches(self.messages, 1, 256, 1024)[0]))
        return self._places["stocked"]

    @contextmanager
    def topic(self, place: LogPlace) -> Iterator[LogQueue]:
        """A topic for one measurement. It is dropped afterwards, as if its consumers had settled everything: its
        segments stay up to `retain_bytes`, then they are written again."""
        name = f"orders-{next(self._numbers)}"
        yield asyncio.run(place.queue(name))
        asyncio.run(place.drop(name))


async def _fill(place: LogPlace) -> None:
    """Write more than is retained; what nobody needs any more is recycled."""
    queue = await place.queue("filling")
    batches = make_batches("plain", 1, 1024, 1024)[0]
    written = 0
    while written < place.options.retain_bytes + 2 * place.options.segment_bytes:
        for batch in batches:
            await queue.append(batch)
            written += sum(len(message.body) for message in batch)
    await place.drop("filling")
    place.tidy()


async def _stock(place: LogPlace, batches: list[list[Message]]) -> None:
    queue = await place.queue("orders")
    for batch in islice(cycle(batches), _STOCK_BATCHES):
        await queue.append(batch)
