"""The readers of one group in this process: how many there are, what they hold, and what closed ones still do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from evermq.adapters.rabbitmq.lane import Lane
from evermq.adapters.rabbitmq.link import Link
from evermq.adapters.rabbitmq.reader import RabbitReader
from evermq.adapters.rabbitmq.topic import Control, Topic, line_of, queue_of
from evermq.clock import Clock

__all__ = ["Readers"]


class Readers:
    """Of one group of a topic."""

    def __init__(self, topic: Topic, group: str, link: Link, control: Control, prefetch: int, clock: Clock) -> None:
        self._topic = topic
        self._group = group
        self._link = link
        self._control = control
        self._prefetch = prefetch
        self._all: list[RabbitReader] = []
        self._leaving: dict[asyncio.Task[None], Lane] = {}
        self.clock = clock
        self.line = line_of(topic.name, group)

    def open(self) -> RabbitReader:
        """Another one."""
        name, prefetch = self._topic.name, self._prefetch
        lanes = [
            Lane(name, number, queue_of(name, self._group, number), self._link, prefetch, self.clock)
            for number in range(self._topic.lanes)
        ]
        line = Lane(name, -1, self.line, self._link, 1, self.clock)
        reader = RabbitReader(self, lanes, line)
        self._all.append(reader)
        return reader

    @property
    def reading(self) -> int:
        """How many there are here."""
        return sum(reader.reads for reader in self._all)

    async def count(self) -> int:
        """How many there are, here and elsewhere."""
        return (await self._control.state(self.line)).consumers

    def held(self, lane: int) -> int:
        """Messages of a lane that readers here have not settled."""
        lanes = [reader.lanes[lane] for reader in self._all] + list(self._leaving.values())
        return sum(len(each.window.items) for each in lanes if each.number == lane and each.is_open)

    async def leave(self, reader: RabbitReader, lanes: Sequence[Lane]) -> None:
        """A reader goes. A lane of which something was released with a delay stays taken until that is over."""
        self._all.remove(reader)
        now_ms = self.clock.monotonic_ms()
        tasks = []
        for lane in lanes:
            task = asyncio.create_task(lane.close())
            if lane.is_open and lane.window.last_due_ms() > now_ms:
                self._leaving[task] = lane
                task.add_done_callback(self._left)
            else:
                tasks.append(task)
        await asyncio.gather(*tasks)

    def _left(self, task: asyncio.Task[None]) -> None:
        del self._leaving[task]

    async def close(self) -> None:
        """Wait for nothing: what is still held comes again when the connection ends."""
        for reader in list(self._all):
            await reader.close()
        tasks = list(self._leaving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
