"""One directory for a run: the log that all cases share, the raw segment, and room for the peers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.messages import make_batches
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from rig.command import say

__all__ = ["Workbench"]


class Workbench:
    """Use as a context; the directory is removed at the end. messages: see messages.py."""

    def __init__(self, directory: Path, messages: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix="evermq-benchmark-", dir=directory.resolve()))
        self.messages = messages
        self._place: LogPlace | None = None
        self._numbers = count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._place:
            self._place.shut()
        shutil.rmtree(self.directory)

    def path(self, name: str) -> Path:
        """A directory of its own for a contender."""
        path = self.directory / f"{name}-{next(self._numbers)}"
        path.mkdir()
        return path

    def place(self) -> LogPlace:
        """The log with default options, filled so far that every new segment is a recycled one."""
        if self._place is None:
            self._place = asyncio.run(LogPlace.open(self.directory / "log"))
            say("filling the log once, so that its segments are recycled ones from now on")
            asyncio.run(_fill(self._place))
        return self._place

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
