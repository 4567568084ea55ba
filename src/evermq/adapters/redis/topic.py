"""One topic as Redis knows it, shared by the queues and readers that this place opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from evermq.adapters.redis.lane import TOPICS, Lane, lanes_of, readers_key, topic_key
from evermq.adapters.redis.options import RedisOptions
from evermq.adapters.redis.script import Argument, Script, pack
from evermq.adapters.redis.wire import Request, Wire
from evermq.clock import Clock
from evermq.errors import Damaged, Misconfigured, NoSuchTopic, Unavailable
from evermq.port import Start

__all__ = ["Topic"]

_CLOSE = Script.load("close", "sld")
_DROP = Script.load("drop", "sld")
_FORGET = Script.load("forget", "k")
_JOIN = Script.load("join", "sl")
_MAKE = Script.load("make", "s")
_MARK = Script.load("mark", "k")
_RELANE = Script.load("relane", "k")
_RETIRE = Script.load("retire", "k")
_STATE = Script.load("state", "sld")
_TOPIC = Script.load("topic", "k")
_FORMAT = "1"
_RETIRE_MS = 500


class Topic:
    """epoch: rises when the lane count changes. lanes: of this epoch. old: of earlier ones that are not empty yet.

    listeners: called when this process appended, or gave something back.
    """

    def __init__(self, name: str, wire: Wire, options: RedisOptions, clock: Clock) -> None:
        self.name = name
        self.wire = wire
        self.options = options
        self.clock = clock
        self.id = ""
        self.epoch = 0
        self.groups: list[str] = []
        self.lanes: list[Lane] = []
        self.old: list[Lane] = []
        self.listeners: set[Callable[[], None]] = set()
        self._old = ""  # `old` as redis has it
        self._retire_ms = 0
        self._lock = asyncio.Lock()

    @property
    def every_lane(self) -> list[Lane]:
        """Old ones first."""
        return self.old + self.lanes

    def wake(self) -> None:
        """Let the readers of this process look again."""
        for listener in self.listeners:
            listener()

    async def load(self) -> None:
        """Read what the topic is. Raises NoSuchTopic."""
        found = await self._read()
        if _is_dropped(found):
            raise NoSuchTopic(
                f"topic {self.name} is being dropped, or that ended half-way: drop it again, or make it anew, which "
                "ends that first: evermq topics create URL --groups a,b"
            )
        self._become(found)

    async def _read(self) -> list[bytes]:
        found: list[bytes] = await self.wire.tell(self.name, "HGETALL", topic_key(self.name))
        if not found:
            raise NoSuchTopic(f"there is no topic {self.name} in this redis: evermq topics create URL --groups a,b")
        return found

    async def reload(self) -> None:
        """As `load`, for a topic that was there: gone, it was dropped or the server flushed. Raises Unavailable."""
        before = self.id
        async with self._lock:
            try:
                await self.load()
            except NoSuchTopic as error:
                raise Unavailable(
                    f"topic {self.name} is gone from this redis with all its messages (dropped, FLUSHALL, or a server "
                    "that kept nothing): create it again"
                ) from error
        if before != self.id:
            self.wake()

    async def make(self, lanes: int, groups: Sequence[str], *, keep: bool = False) -> None:
        """Make what is missing of the topic, its lanes and groups. keep: messages wait for the first group."""
        known = "keep" if keep else "refuse"
        values: list[Argument] = [self.clock.token(), lanes, known, *groups]
        found = await self.wire.on_key(_TOPIC, self.name, topic_key(self.name), values)
        while _is_dropped(found):  # what is left of its lanes would take nothing of the new one
            with suppress(NoSuchTopic):
                await self.drop()
            found = await self.wire.on_key(_TOPIC, self.name, topic_key(self.name), values)
        self._become(found)
        await self.wire.call(_MAKE, self.lanes, [self.id, known])
        for group in self.groups:
            await self.join(group, Start.OLDEST)
        await self.wire.tell(TOPICS, "SADD", TOPICS, self.name)

    async def join(self, group: str, start: Start, *, again: bool = False) -> None:
        """Place a group in every lane. again: move one that exists, and take the lanes from its readers."""
        value = start.value if start.at in ("offset", "time") else 0
        values: list[Argument] = [self.id, group, start.at, value, "again" if again else "new"]
        await self.wire.call(_JOIN, self.every_lane, values)
        if group not in self.groups:
            found = await self.wire.on_key(_TOPIC, self.name, topic_key(self.name), [self.id, 1, "refuse", group])
            self._become(found)

    async def forget(self, group: str) -> None:
        """Take a group from the topic's list; lanes may have it still."""
        self._become(await self.wire.on_key(_FORGET, self.name, topic_key(self.name), [self.id, group]))

    async def relane(self, lanes: int) -> None:
        """Another number of lanes, as a new epoch; what is in the old ones is read first, or with it below order.

        Raises Unavailable where somebody else changed the topic meanwhile."""
        await self.load()
        if len(self.lanes) == lanes:
            return
        before, id_ = self.lanes, self.id
        [done] = await self.wire.on_key(_RELANE, self.name, topic_key(self.name), [id_, self.epoch, lanes])
        if not done:
            raise Unavailable(f"topic {self.name} was changed, made anew or dropped meanwhile: look, and try again")
        await self.make(lanes, [])
        await self.wire.call(_CLOSE, before, [id_])
        self.wake()

    async def retire(self) -> None:
        """Close the old lanes for good, and forget them when every group has emptied them; now and then."""
        now_ms = self.clock.monotonic_ms()
        if now_ms < self._retire_ms:
            return
        self._retire_ms = now_ms + _RETIRE_MS
        closed: list[Argument] = [self.id, self._old]
        gone = await self.wire.call(_CLOSE, self.old, [self.id])
        if all(gone) and (found := await self.wire.on_key(_RETIRE, self.name, topic_key(self.name), closed)):
            self._become(found)

    async def drop(self) -> None:
        """Remove it with everything in it. Raises NoSuchTopic.

        On one server it goes in one step. On several nobody finds it once it is marked, and the mark stays until its
        lanes are gone: who drops or makes it after that had ended half-way begins with what is left."""
        self._become(await self._read())
        key = topic_key(self.name)
        await self.wire.tell(TOPICS, "SREM", TOPICS, self.name)
        if self.groups:
            await self.wire.tell(self.name, "DEL", *(readers_key(self.name, group) for group in self.groups))
        if self.wire.splits:
            if found := await self.wire.on_key(_MARK, self.name, key, [self.id]):
                self._become(found)
            await self.wire.call(_DROP, self.every_lane, [self.id])
            await self.wire.on_key(_DROP, self.name, key, [self.id])
        else:
            await self.wire.calls(Request(_DROP, self.every_lane, pack(self.id), beside=key))
        self.wake()

    async def state(self, lanes: Sequence[Lane]) -> list[list[Any]]:
        """What lua/state.lua says of each lane."""
        return await self.wire.call(_STATE, lanes, [self.id]) if lanes else []

    def check_lanes(self) -> None:
        """Raises Misconfigured where the URL says another lane count than the topic has."""
        wanted = self.options.lanes
        if wanted is not None and wanted != len(self.lanes):
            raise Misconfigured(
                f"lanes = {wanted}: topic {self.name} has {len(self.lanes)} lanes, perhaps for another deployment on "
                f"the same redis: say lanes={len(self.lanes)}, or change the topic for everybody with "
                f"`evermq topics lanes URL {wanted}`"
            )

    def _become(self, found: list[bytes]) -> None:
        said = {found[i].decode(): found[i + 1].decode() for i in range(0, len(found), 2)}
        try:
            if said["format"] != _FORMAT:
                raise Damaged(f"topic {self.name} is stored in format {said['format']}, this evermq knows {_FORMAT}")
            epoch, count = int(said["epoch"]), int(said["lanes"])
            old = [each.split(":") for each in said["old"].split(",") if each]
            known = {lane.tag: lane for lane in self.every_lane} if self.id == said["id"] else {}
            some = [lane for number, size in old for lane in lanes_of(self.name, int(number), int(size))]
            self.old = [known.get(lane.tag, lane) for lane in some]  # readers know by them what they hold
            if (self.id, self.epoch) != (said["id"], epoch):
                self.lanes = [known.get(lane.tag, lane) for lane in lanes_of(self.name, epoch, count)]
            self.id, self.epoch, self._old = said["id"], epoch, said["old"]
            self.groups = [group for group in said["groups"].split(",") if group]
        except (KeyError, ValueError) as error:
            raise Damaged(f"topic {self.name}: what redis has of it cannot be understood: {said}") from error


def _is_dropped(found: Sequence[bytes]) -> bool:
    return b"dropped" in found[::2]
