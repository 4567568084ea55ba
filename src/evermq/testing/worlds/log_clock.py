"""The embedded log while its wall clock is set back and forward by hours, again and again.

Judged is what the log says of time: what is settled is kept for `retain_ms` of the log's time, a start by time leaves
out nothing that was appended then or later, a pause takes no longer than it was to, and a delayed message comes when
the wall clock reaches its time. The log's own time lies between the wall clock and the furthest it can have come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import NamedTuple

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.queue import LogQueue
from evermq.adapters.log.reader import LogReader
from evermq.message import Message, MessageFactory
from evermq.port import Start
from evermq.testing.simulation.clock import SimulatedClock
from evermq.testing.simulation.disk import FakeDisk
from evermq.testing.simulation.loop import simulate
from evermq.testing.world import World, WorldResult
from evermq.testing.worlds.log_audit import read_place
from evermq.testing.worlds.log_books import Books
from evermq.testing.worlds.log_life import DELAY_MS_MAX, TOPICS, Life, options_of

__all__ = ["WORLDS"]

_HOUR_MS = 3_600_000
_RETAIN_MS = 4 * _HOUR_MS
_SKEWS_MS = (0, 0, -1_000, 1_000, *(hours * _HOUR_MS for hours in (-12, -5, -1, 1, 2, 9)))
_ROUNDS = 4
_ACTIONS = 24
_PROBES = 4  # of a round
_NOTICED_MS = 1_500  # within which a waiting reader looks at the clock
_PAUSES = "pauses"
_GONE = "settled messages gone by their age"
_KEPT = "settled messages kept"


class Probe(NamedTuple):
    """A message of which is known what the wall clock said, and how far the log's time can have come at most."""

    id: str
    wall_ms: int
    latest_ms: int


class WallClock:
    """Sets the wall clock. `latest_ms`: how far a time that never goes back can have come."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self._ahead_ms = clock.now_ms() - clock.monotonic_ms()

    @property
    def latest_ms(self) -> int:
        return self._ahead_ms + self.clock.monotonic_ms()

    def set(self, skew_ms: int) -> None:
        self.clock.skew_ms = skew_ms
        self._ahead_ms = max(self._ahead_ms, self.clock.now_ms() - self.clock.monotonic_ms())

    def jump(self) -> None:
        self.set(self.clock.random.choice(_SKEWS_MS))

    async def jump_during(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.clock.sleep(self.clock.random.choice((1, 5, 20)))
            self.jump()
        await task


class Checks:
    """What is asked of a log between the rounds of its life; what is wrong goes to the books."""

    def __init__(self, life: Life, disk: FakeDisk, options: LogOptions, wall: WallClock, result: WorldResult) -> None:
        self._life = life
        self._disk = disk
        self._options = options
        self._wall = wall
        self._clock = wall.clock
        self._result = result
        self._books = life.books
        self._make = MessageFactory(wall.clock)
        self._probes: list[Probe] = []

    async def append_probes(self) -> None:
        queue = await self._queue(TOPICS[0])
        for _ in range(_PROBES):
            self._wall.jump()
            message = self._message(TOPICS[0])
            wall_ms = self._clock.now_ms()
            await queue.append([message])
            self._books.acked[message.id] = self._life.moment
            self._probes.append(Probe(message.id, wall_ms, self._wall.latest_ms))
            await self._clock.sleep(self._clock.random.choice((0, 10, 100_000)))

    async def ages_and_starts(self) -> None:
        """On a copy, whose groups keep nothing back in the log itself."""
        place = LogPlace(FakeDisk(self._disk.image()), self._options, clock=self._clock, threaded=False)
        queue = await place.queue(TOPICS[0])
        stored = await _ids(await queue.reader("all"))
        for probe in self._probes:
            young = self._wall.latest_ms - probe.wall_ms < _RETAIN_MS
            if probe.id not in stored and (young or probe.id not in self._books.settled):
                self._wrong(f"{probe.id} is gone before its time")
            if probe.id in self._books.settled:
                self._result.seen[_KEPT if probe.id in stored else _GONE] += 1
        chosen = self._clock.random.choice(self._probes)
        at_ms = self._clock.random.choice((chosen.wall_ms, chosen.latest_ms, chosen.latest_ms + 1))
        started = await _ids(await queue.reader("since", start=Start("time", at_ms)))
        for probe in self._probes:
            if probe.wall_ms >= at_ms and probe.id in stored - started:
                self._wrong(f"{probe.id} was appended at {probe.wall_ms}, and a start at {at_ms} leaves it out")
            if probe.latest_ms < at_ms and probe.id in started:
                self._wrong(f"{probe.id} was appended by {probe.latest_ms}, and a start at {at_ms} has it")
        await place.close()

    async def pause(self) -> None:
        """A message that was released comes when its pause is over, wherever the clock is by then."""
        queue = await self._queue(_PAUSES)
        message = self._message(_PAUSES)
        await queue.append([message])
        reader = await queue.reader("patient")
        found = await reader.read(count_max=9, wait_ms=0)
        pause_ms = self._clock.random.choice((10, 1_000, 60_000))
        await reader.release(found, delay_ms=pause_ms)
        self._wall.jump()
        if self._clock.random.random() < 0.3:
            await self._life.close()
            await self._life.open()
            reader = await (await self._queue(_PAUSES)).reader("patient")
        await self._expect(reader, message, pause_ms, f"{message.id} paused for {pause_ms} ms")

    async def delay(self) -> None:
        """A delayed message comes when the wall clock reaches its time and not before, to a reader that waits."""
        queue = await self._queue(_PAUSES)
        message = self._message(_PAUSES, delay_ms=_HOUR_MS)
        await queue.append([message])
        reader = await queue.reader("patient")
        skew_ms = self._clock.skew_ms
        self._wall.set(skew_ms - self._clock.random.choice((0, _HOUR_MS)))
        if await reader.read(count_max=9, wait_ms=10_000):
            self._wrong(f"{message.id} came before it was due")
        what = f"{message.id} became due"
        expecting = asyncio.ensure_future(self._expect(reader, message, 60_000, what))
        await self._clock.sleep(60_000)
        self._wall.set(skew_ms + _HOUR_MS)
        await expecting

    async def _expect(self, reader: LogReader, message: Message, wait_ms: int, what: str) -> None:
        began_ms = self._clock.monotonic_ms()
        found = await reader.read(count_max=9, wait_ms=wait_ms + 2 * _NOTICED_MS)
        took_ms = self._clock.monotonic_ms() - began_ms
        if [delivery.message.id for delivery in found] != [message.id]:
            self._wrong(f"{what}, and {[delivery.message.id for delivery in found]} came")
        elif took_ms > wait_ms + _NOTICED_MS:
            self._wrong(f"{what}, and came after {took_ms} ms")
        await reader.ack(found)
        await reader.close()

    def _message(self, topic: str, delay_ms: int = 0) -> Message:
        message = self._make(b"probe", delay_ms=delay_ms)
        self._books.messages[message.id] = message
        self._books.topic[message.id] = topic
        return message

    async def _queue(self, topic: str) -> LogQueue:
        assert self._life.place
        return await self._life.place.queue(topic)

    def _wrong(self, what: str) -> None:
        self._books.wrong.append(what)


def _run(seed: int) -> WorldResult:
    result = WorldResult()

    async def main(clock: SimulatedClock) -> None:
        options = options_of(clock.random, "always")
        options = replace(options, segment_bytes=4096, retain_bytes=1 << 30, retain_ms=_RETAIN_MS)
        disk, books, wall = FakeDisk(), Books(), WallClock(clock)
        life = Life(disk, options, clock, books)
        await life.open()
        checks = Checks(life, disk, options, wall, result)
        for _ in range(_ROUNDS):
            await wall.jump_during(life.play(_ACTIONS))
            await checks.append_probes()
            await checks.pause()
            await checks.delay()
            await clock.sleep(clock.random.choice((0, 2, 5)) * _HOUR_MS)
            await life.catch_up()
            await checks.ages_and_starts()
        wall.set(0)
        await clock.sleep(max(0, wall.latest_ms - clock.now_ms()) + DELAY_MS_MAX)  # until everything is due
        await life.wait_for_delayed()
        assert life.place
        found = await read_place(life.place, books, books.wrong)
        missing = books.stored(disk.steps, synced_only=False) - books.perhaps_done(disk.steps) - found.served
        result.failures += [*books.wrong, *(f"{id} is not served" for id in sorted(missing))]
        result.histories += 1
        if not (result.seen[_GONE] and result.seen[_KEPT]):
            result.invalid.append("nothing grew old, or everything did")
        result.note(disk.steps, len(books.acked), result.seen, result.failures)

    result.note(simulate(seed, main).trace_hash)
    return result


async def _ids(reader: LogReader) -> set[str]:
    ids: set[str] = set()
    while found := await reader.read(count_max=100, wait_ms=0):
        ids.update(delivery.message.id for delivery in found)
        await reader.ack(found)
    return ids


WORLDS = (World("log-clock", "an embedded log whose wall clock is set back and forward by hours", _run),)
