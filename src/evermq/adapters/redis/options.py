"""What may stand behind `?` in the URL of a Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from evermq.adapters.options import Options
from evermq.errors import Misconfigured

__all__ = ["RedisOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions(Options):
    """See `Options`. lanes: of a topic that is made, 128 if None; of one that exists, it has to be the count that it
    has.

    create: yes makes topics and groups at first use; without it they are made by `evermq topics create`.
    lease_ms: a reader that is silent for so long loses its lanes. timeout_ms: longest wait for an answer.
    entry_bytes: messages of one lane and batch go into one value up to so many bytes. message_bytes_max: body, key and
    headers together. lane_count_max: a lane that keeps so many messages takes no batch, append raises Overloaded; it
    keeps all from the first one on that some group has not settled.
    wait_replicas, wait_ms: an append counts when so many replicas confirmed it in time, else it is Uncertain.
    sentinel_password: a reference. cluster: yes for a Redis Cluster. sentinel: name of the master, the hosts are
    Sentinels then. db: number of the database.
    """

    ENGINE: ClassVar = "redis"
    LIMITS: ClassVar = {
        "lanes": (1, 16_384),
        "lease_ms": (100, None),
        "timeout_ms": (50, None),
        "entry_bytes": (1_024, 1 << 20),
        "message_bytes_max": (1_024, 256 << 20),
        "lane_count_max": (1, None),
        "wait_replicas": (0, None),
        "wait_ms": (1, None),
        "db": (0, None),
    }

    lanes: int | None = None
    create: bool = False
    lease_ms: int = 10_000
    timeout_ms: int = 5_000
    entry_bytes: int = 64 << 10
    message_bytes_max: int = 1 << 20
    lane_count_max: int = 100_000
    wait_replicas: int = 0
    wait_ms: int = 1_000
    sentinel_password: str = ""
    cluster: bool = False
    sentinel: str = ""
    db: int = 0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """From text. Raises Misconfigured."""
        made = super(RedisOptions, cls).of(given)
        if made.cluster and (made.sentinel or made.db):
            raise Misconfigured("cluster = yes: a cluster has neither Sentinels nor numbered databases")
        return made
