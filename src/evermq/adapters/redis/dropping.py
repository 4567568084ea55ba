"""Taking a group away from a topic, so that nothing is kept for it any more."""

from __future__ import annotations

from evermq.adapters.redis.lane import readers_key
from evermq.adapters.redis.script import Script
from evermq.adapters.redis.topic import Topic
from evermq.errors import NoSuchTopic, Rejected

__all__ = ["drop_group"]

_ASKED = Script.load("asked", "k")
_LEAVE = Script.load("leave", "sl")

_READ_MS = 2_000  # who asked within it counts as a reader
_LEASED = 2  # as lua/leave.lua says it


async def drop_group(topic: Topic, group: str) -> None:
    """See `DropsGroups`. What ends half-way is finished by the next try: the topic forgets the group first, and its
    lanes say whether they know it. Where lanes are on several servers a reader that comes meanwhile may keep some."""
    lanes, key = topic.every_lane, readers_key(topic.name, group)
    found = await topic.wire.call(_LEAVE, lanes, [topic.id, group, "look"])
    if group not in topic.groups and not any(found):
        raise NoSuchTopic(f"topic {topic.name} has no group {group}")
    readers, _ = await topic.wire.on_key(_ASKED, topic.name, key, [topic.clock.token(), _READ_MS, "leave"])
    if readers or _LEASED in found:
        raise _read(group)
    await topic.forget(group)
    if _LEASED in await topic.wire.call(_LEAVE, lanes, [topic.id, group, "leave"]):
        raise _read(group)
    await topic.wire.tell(topic.name, "DEL", key)


def _read(group: str) -> Rejected:
    return Rejected(f"group {group} has readers, or had some until just now: close them, then drop it")
