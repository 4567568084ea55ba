"""A topic as RocketMQ has it, and what its brokers' settings make of an acknowledgement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from evermq.adapters.rocketmq.protocol import DELAY, FIFO, NORMAL, TRANSACTION
from evermq.errors import Misconfigured
from evermq.topics import check_group, check_topic
from evermq.traits import Durable

__all__ = ["SETTINGS", "Topic", "both", "durable_of", "hazards", "listed", "shown", "topic_of", "weaknesses"]
__all__ += ["wire_topic"]

_log = logging.getLogger("evermq.rocketmq")

_NAME_MAX = 127 - len("%RETRY%_")  # of topic and group together, in the topic of what comes again
_ORDERED = "%fifo"
_KINDS = {NORMAL: "normal", DELAY: "delay", FIFO: "fifo", TRANSACTION: "transaction"}
# Settings of a broker that say which loss an acknowledgement survives.
SETTINGS = (
    "flushDiskType",
    "transientStorePoolEnable",
    "brokerRole",
    "inSyncReplicas",
    "minInSyncReplicas",
    "allAckInSyncStateSet",
    "enableControllerMode",
)
_POP_RECORDS = "popConsumerKVServiceEnable"
# Those that say how its topics are kept. fileReservedTime: hours.
_SHOWN = ("fileReservedTime", "flushDiskType", "brokerRole", "inSyncReplicas", "minInSyncReplicas", "maxMessageSize")


def wire_topic(name: str) -> str:
    """As RocketMQ has it: a dot is no part of a name there, a percent sign is. Raises Misconfigured."""
    return _wire("topic", check_topic(name))


def _wire(what: str, name: str) -> str:
    if len(name) > _NAME_MAX - 40:
        raise Misconfigured(f"{what} {name}: RocketMQ takes names of up to {_NAME_MAX - 40} characters here")
    return name.replace(".", "%")


class Topic:
    """queues: how many each broker has, as far as anybody has looked. kind: normal, delay, fifo or transaction."""

    def __init__(self, name: str, kind: str, queues: Mapping[str, int]) -> None:
        self.name, self.kind, self.queues = name, kind, dict(queues)
        self.wire_name = wire_topic(name)

    @property
    def lanes(self) -> int:
        """Its queues on all brokers."""
        return sum(self.queues.values())

    def wire_group(self, group: str) -> str:
        """As RocketMQ has it: groups are of the whole cluster there, and either ordered or not. Raises
        Misconfigured."""
        return _wire("group", check_group(group)) + (_ORDERED if self.kind == "fifo" else "")

    @staticmethod
    def group_of(wire_group: str) -> str:
        """The name of a group of RocketMQ."""
        return wire_group.removesuffix(_ORDERED).replace("%", ".")

    def reach(self, queues: Mapping[str, int]) -> None:
        """It has these by now. What it had it keeps: a broker that is away, and queues that were taken from it, may
        have messages that nobody has read."""
        before, self.queues = self.queues, both(self.queues, queues)
        if self.queues == before:
            return
        _log.warning(
            "topic %s has queues on %s by now, and had %s: what is in the new ones is counted and read%s",
            self.name,
            listed(self.queues),
            listed(before),
            "; it is FIFO, and over several queues the proxy keeps no order" if self.kind == "fifo" else "",
        )


def both(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """The queues of either, by broker."""
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in sorted({*first, *second})}


def listed(queues: Mapping[str, int]) -> str:
    """For people."""
    return ", ".join(f"{name}={count}" for name, count in sorted(queues.items()))


def topic_of(name: str, queues: Any) -> Topic:
    """From a route. Raises Misconfigured for a kind that evermq does not use."""
    counts: dict[str, int] = {}
    kinds: set[int] = set()
    for queue in queues:
        counts[queue.broker.name] = counts.get(queue.broker.name, 0) + 1
        kinds |= set(queue.accept_message_types)
    known = [kind for kind in _KINDS if kind in kinds]
    if not known or not counts:
        raise Misconfigured(f"topic {name}: its message.type is none of NORMAL, DELAY, FIFO and TRANSACTION")
    return Topic(name, _KINDS[known[0]], counts)


def shown(settings: Mapping[str, str]) -> dict[str, str]:
    """What `describe` shows of a broker."""
    return {name: settings.get(name, "unknown") for name in _SHOWN}


def durable_of(settings: Mapping[str, str]) -> Durable:
    """Which loss an acknowledgement of a broker that is set up so survives; what cannot be seen is taken for its
    worst."""
    if not settings:
        return Durable.MEMORY
    if _replicas(settings) >= 2:
        return Durable.REPLICATED
    if settings.get("flushDiskType") == "SYNC_FLUSH":
        return Durable.DISK
    return Durable.MEMORY if settings.get("transientStorePoolEnable") == "true" else Durable.PROCESS


def _replicas(settings: Mapping[str, str]) -> int:
    """How many have a message at least when it is acknowledged; an asynchronous master answers alone."""
    least, chosen = (int(settings.get(name, "1")) for name in ("minInSyncReplicas", "inSyncReplicas"))
    if settings.get("enableControllerMode") == "true":
        every = settings.get("allAckInSyncStateSet") == "true"
        return least if every else min(least, chosen)
    if settings.get("brokerRole") != "SYNC_MASTER":
        return 1
    return chosen


def weaknesses(settings: Mapping[str, str]) -> dict[str, str]:
    """What to change, by the name of the setting."""
    found = {}
    if _replicas(settings) < 2:
        if settings.get("enableControllerMode") == "true":
            found["minInSyncReplicas"] = "2, with allAckInSyncStateSet = true: else one replica may be all there is"
        else:
            found["inSyncReplicas"] = "2, with brokerRole = SYNC_MASTER and a slave: else the master answers alone"
        if settings.get("flushDiskType") != "SYNC_FLUSH":
            found["flushDiskType"] = "SYNC_FLUSH: else what was acknowledged is lost with the power"
    if settings.get("transientStorePoolEnable") == "true":
        found["transientStorePoolEnable"] = "false: else what was acknowledged is lost with the process"
    return found


def hazards(settings: Mapping[str, str]) -> dict[str, str]:
    """What may keep a stored message from a group, by the name of the setting.

    Without records of its own, a batch that was handed out is known by its first offset and a time in milliseconds. A
    proxy gives back what it cannot pass on to a reader whose connection broke; where that happens within the same
    millisecond, both are taken for one, and the first message never comes again.
    """
    if not settings or settings.get(_POP_RECORDS) == "true":
        return {}
    advice = "true, with popConsumerKVServiceInit, from RocketMQ 5.4 on: else a group may miss a message when the "
    return {_POP_RECORDS: advice + "connection of a reader that waits breaks"}
