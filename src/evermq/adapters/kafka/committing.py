"""What readers of a group settled, on its way to the group's coordinator: one commit at a time, in order.

A commit carries every acknowledgement that came while the one before it was on its way. None waits for a rebalance: the
coordinator takes commits of a generation until the next one begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from confluent_kafka import KafkaError

from evermq.adapters.kafka.generation import NOBODY, Generation
from evermq.adapters.kafka.group import Group
from evermq.adapters.kafka.lane import Lane
from evermq.adapters.kafka.offsets import Committed, Offsets
from evermq.adapters.kafka.progress import METADATA_BYTES_MAX
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError

__all__ = ["Commits", "either"]

_log = logging.getLogger("evermq.kafka")

_PAUSE_S = 0.005
_PAUSES_MIN = 4  # as long as it took to say what is done: of thousands that are held that is milliseconds
_AGAIN_S = 0.2
_METADATA_BYTES_MIN = 64


class Commits:
    """name: of the group, as the coordinator knows it. generation: to be told by the thread that reads."""

    def __init__(self, group: Group, topic: Topic, name: str, offsets: Offsets, clock: Clock = SYSTEM) -> None:
        self.generation = NOBODY
        self._group = group
        self._topic = topic
        self._name = name
        self._offsets = offsets
        self._clock = clock
        self._lock = asyncio.Lock()
        self._dirty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._next: asyncio.Future[None] | None = None
        self._on_its_way: asyncio.Future[None] | None = None
        self._settled = self._safe = 0
        self._took_ms = 0
        self._bytes_max = METADATA_BYTES_MAX

    def soon(self, settled: int = 0) -> None:
        """Something was settled or released, `settled` messages in particular."""
        self._settled += settled
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self._dirty.set()

    @property
    def pending(self) -> asyncio.Future[None] | None:
        """Done when what is settled by now was committed, or the engine refused; None where that is so already."""
        return self._next or self._on_its_way

    @property
    def uncommitted(self) -> int:
        """How many messages were settled since the last commit began that went well: a crash repeats those."""
        return self._settled - self._safe

    async def wait(self, pending: asyncio.Future[None] | None, wait_s: float) -> None:
        """Wait for a `pending` of earlier."""
        if pending is not None and not pending.done():
            self._hurry.set()
            await asyncio.wait([pending], timeout=wait_s)

    async def run(self) -> None:
        """Commit whatever is settled, until it is cancelled; what was on its way then is to be committed again."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            waiting = self._on_its_way = self._next
            self._next = None
            settled = self._settled
            try:
                done = await self.commit()
            finally:
                self._on_its_way = None
                if waiting and not waiting.done():
                    waiting.set_result(None)
            if done:
                self._safe = settled
                await either(self._hurry, max(_PAUSE_S, _PAUSES_MIN * self._took_ms / 1000))
            else:
                self.soon()
                await asyncio.sleep(_AGAIN_S)
            self._hurry.clear()

    async def commit(self, lanes: Iterable[Lane] | None = None, generation: Generation | None = None) -> bool:
        """What changed, behind what is on its way; False where that has to be tried again.

        lanes: all that are the member's if None. generation: in which they were."""
        async with self._lock:
            changed, offsets, now = self._take(lanes)
            done = False
            try:
                done = not offsets or await self._send(offsets, generation or now)
            finally:
                if not done:  # or it is not known
                    for lane in changed:
                        lane.dirty = True
            return done

    def end(self) -> None:
        """Nobody waits for what will not be committed any more."""
        if self._next:
            self._next.set_result(None)
            self._next = None

    def _take(self, lanes: Iterable[Lane] | None) -> tuple[list[Lane], dict[int, Committed], Generation]:
        began_ms = self._clock.monotonic_ms()
        with self._group.lock:
            changed = [lane for lane in (self._group.lanes.values() if lanes is None else lanes) if lane.dirty]
            of_commit = {"bytes_max": self._bytes_max, "ahead_ms": self._clock.now_ms() - began_ms}
            offsets = {lane.number: Committed(*lane.snapshot(self._topic.id, **of_commit)) for lane in changed}
            for lane in changed:
                lane.dirty = False
            self._took_ms = self._clock.monotonic_ms() - began_ms
            return changed, offsets, self.generation

    async def _send(self, offsets: dict[int, Committed], generation: Generation) -> bool:
        if generation.number < 0:
            return False  # not joined yet: a group without members would take it from anybody
        try:
            code = await self._offsets.commit_as(generation, self._name, self._topic.name, offsets)
        except Exception as error:  # of whatever driver: who reads must not go on without commits
            said = error if isinstance(error, EvermqError) else repr(error)
            _log.warning("group %s: what was acknowledged is not committed yet: %s", self._group.name, said)
            return False
        if code == KafkaError.OFFSET_METADATA_TOO_LARGE:
            self._bytes_max = max(_METADATA_BYTES_MIN, self._bytes_max // 2)
        if code:
            _log.info("group %s: what was acknowledged is to be committed again: %s", self._group.name, code)
        return not code


async def either(event: asyncio.Event, wait_s: float) -> None:
    """Until the event, or until the time is over."""
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        pass
