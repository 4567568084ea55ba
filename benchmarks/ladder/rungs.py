"""A ladder as a configuration makes it: Kafka, a Redis, a log of this host, and a switch between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from brokers.arena import Arena
from evermq.adapters.open import open_queue
from evermq.compose.build import build
from evermq.compose.config import parse
from evermq.port import Queue
from lanes.arena import running

__all__ = ["Ladder", "Rungs", "standing"]

_NUMBERS = count(1)


@dataclass
class Rungs:
    """The engines, and the loop that all work on them shares."""

    kafka: Arena
    redis_url: str
    directory: Path
    runner: asyncio.Runner

    async def primary(self) -> Queue:
        """A topic of the primary, alone."""
        return await open_queue(f"{self.kafka.url}/{self.kafka.topic()}")

    async def ladder(self) -> Queue:
        """A ladder on topics of its own."""
        return await Ladder(self).open()

    async def ordered(self) -> Queue:
        """The same with order per key and without doubles of the ladder's own."""
        return await Ladder(self, 'order = "key"\ndedupe = "producer"\nprogress = "log://{directory}/progress"').open()


class Ladder:
    """One topic of a configuration. more: further lines of it."""

    def __init__(self, rungs: Rungs, more: str = "") -> None:
        self.topic, at = f"ladder-{next(_NUMBERS)}", rungs.directory
        self.standby = f"{rungs.redis_url}/{self.topic}?create=yes&lane_count_max=1000000"
        self.text = f"""
            [topics.{self.topic}]
            use = "failover"
            groups = ["billing"]
            primary = "{rungs.kafka.url}/{rungs.kafka.topic()}"
            standby = "{self.standby}"
            last = "log://{at}/last/{self.topic}"
            switch = "file://{at}/{self.topic}.switch"
            {more.format(directory=f"{at}/{self.topic}")}
        """

    async def open(self) -> Queue:
        """As an application opens it."""
        return await build(parse(self.text, "benchmark")[self.topic])


@contextmanager
def standing(kafka: Arena, directory: Path) -> Iterator[Rungs]:
    """A Redis beside the Kafka, with appendfsync always."""
    with running(directory / "redis") as redis, asyncio.Runner() as runner:
        yield Rungs(kafka, f"redis://127.0.0.1:{redis.port}", directory, runner)
