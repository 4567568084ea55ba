"""What is known of a topic: its lanes, and what its configuration makes of evermq's promises."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evermq.traits import Ack, Durable, Groups, Order, Traits

__all__ = ["Topic", "deletions", "durable_of", "weaknesses"]

_log = logging.getLogger("evermq.kafka")

_BATCH_COUNT_MAX = 65_536
_RECORD_BYTES = 4_096  # of the limit, what is kept free for evermq's id and the frame of a record with many headers
_NEVER_FLUSH = 1 << 40
_SHOWN = ("min.insync.replicas", "cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes")
_KEPT_MS_MIN, _KEPT_BYTES_MIN = 3_600_000, 1 << 30  # of a lane; what is kept less long is warned of


@dataclass(frozen=True, slots=True)
class Topic:
    """id: as the cluster gave it, of this incarnation. lanes: how many it had when it was looked at; a queue appends to
    these. replicas: the fewest that any lane has. config: its effective settings, empty where this user may not see
    them. names: of all lanes that are known by now."""

    name: str
    id: str
    lanes: int
    replicas: int
    config: Mapping[str, str]
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names.extend(map(str, range(self.lanes)))

    @property
    def known(self) -> range:
        """The lanes that it has by now, as far as anybody has looked: those are read, and counted."""
        return range(len(self.names))

    def reach(self, lanes: int) -> None:
        """It has so many by now. In the loop only."""
        if lanes <= len(self.names):
            return
        self.names.extend(map(str, range(len(self.names), lanes)))
        _log.warning(
            "topic %s has %d partitions by now, and had %d: all are read; what this queue appends stays in those that "
            "it had, until it is opened again. Between what was sent before and after no order is kept",
            self.name,
            lanes,
            self.lanes,
        )

    def anew(self, topic_id: str, lanes: int) -> Topic:
        """Another topic that was made under this name, as far as readers go: its settings are those of this one."""
        return replace(self, id=topic_id, lanes=lanes, names=[])

    @property
    def batch_bytes(self) -> int:
        """Largest record batch that brokers take."""
        return int(self.config.get("max.message.bytes", "1048588"))

    @property
    def keeps_timestamps(self) -> bool:
        """Whether a record keeps the time that its producer gave it."""
        return self.config.get("message.timestamp.type", "CreateTime") == "CreateTime"

    @property
    def settings(self) -> dict[str, str]:
        """What `describe` shows of it."""
        counts = {"partitions": str(self.lanes), "replication.factor": str(self.replicas)}
        return counts | {name: self.config.get(name, "unknown") for name in _SHOWN}

    @property
    def traits(self) -> Traits:
        """The promises of a queue on it."""
        limit = self.batch_bytes
        return Traits(
            order=Order.KEY,
            ack=Ack.SINGLE,
            durable=durable_of(self.replicas, self.config),
            groups=Groups.MANY,
            lanes=self.lanes,
            replay=True,
            delay_ms_max=0,
            message_bytes_max=limit - min(_RECORD_BYTES, limit // 2),
            batch_count_max=_BATCH_COUNT_MAX,
        )


def durable_of(replicas: int, config: Mapping[str, str]) -> Durable:
    """What loss an append with acks=all survives; brokers write a message to disk some time after they took it, and
    where they compact they delete it."""
    if _is_compacted(config):
        return Durable.MEMORY
    if not weaknesses(replicas, config):
        return Durable.REPLICATED
    if int(config.get("flush.messages", _NEVER_FLUSH)) == 1:
        return Durable.DISK
    return Durable.PROCESS


def weaknesses(replicas: int, config: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(setting, value, advice) of each that keeps the topic from surviving the loss of a broker, or loses by itself."""
    found = []
    if _is_compacted(config):
        advice = "delete: compaction deletes messages, read or not, of which a later one has the key"
        found.append(("cleanup.policy", config["cleanup.policy"], advice))
    if replicas < 3:
        found.append(("replication.factor", str(replicas), "3 or more: a broker that is lost takes nothing with it"))
    if (in_sync := config.get("min.insync.replicas")) is None or int(in_sync) < 2:
        found.append(
            (
                "min.insync.replicas",
                in_sync or "unknown",
                "2 or more: else one replica alone acknowledges, and may be lost",
            )
        )
    if (unclean := config.get("unclean.leader.election.enable", "false")) != "false":
        found.append(("unclean.leader.election.enable", unclean, "false: else a replica that lags may become leader"))
    return found


def deletions(config: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(setting, value, advice) of what deletes messages that nobody has read yet; an advice where that may be soon."""
    advice = "an hour or more (-1: no limit): whoever reads later than that loses what was not read"
    kept_ms, kept_bytes = config.get("retention.ms", "unknown"), config.get("retention.bytes", "unknown")
    few = "1073741824 or more (-1: no limit): a lane with more than that loses what was not read"
    return [
        ("retention.ms", kept_ms, advice if _is_below(kept_ms, _KEPT_MS_MIN) else ""),
        ("retention.bytes", kept_bytes, few if _is_below(kept_bytes, _KEPT_BYTES_MIN) else ""),
    ]


def _is_compacted(config: Mapping[str, str]) -> bool:
    return "compact" in config.get("cleanup.policy", "")


def _is_below(value: str, least: int) -> bool:
    return value.isdecimal() and int(value) < least  # -1 is no limit
