"""Every engine and topology by the name under which tests, drills and `evermq dev` ask for it."""

from __future__ import annotations

import difflib

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.etcd import Etcd
from evermq.drills.engines.kafka import Kafka, KafkaPlain, KafkaSecured, KafkaThree
from evermq.drills.engines.kafka_linked import KafkaLinked
from evermq.drills.engines.mariadb import MariaDB
from evermq.drills.engines.postgresql import PostgreSQL
from evermq.drills.engines.rabbitmq import RabbitMQ, RabbitMQSecured, RabbitMQThree
from evermq.drills.engines.redis import Redis, RedisCluster, RedisSecured, RedisSentinel
from evermq.drills.engines.rocketmq import RocketMQ, RocketMQSecured
from evermq.drills.engines.rocketmq_three import RocketMQThree
from evermq.drills.engines.zookeeper import ZooKeeper, ZooKeeperThree
from evermq.errors import Misconfigured

__all__ = ["CATALOG", "find"]

_ALL: tuple[type[Engine], ...] = (
    Redis,
    RedisSentinel,
    RedisCluster,
    RedisSecured,
    Kafka,
    KafkaThree,
    KafkaLinked,
    KafkaSecured,
    KafkaPlain,
    RabbitMQ,
    RabbitMQThree,
    RabbitMQSecured,
    RocketMQ,
    RocketMQThree,
    RocketMQSecured,
    ZooKeeper,
    ZooKeeperThree,
    Etcd,
    PostgreSQL,
    MariaDB,
)
CATALOG = {each.name: each for each in _ALL}


def find(name: str) -> type[Engine]:
    """The engine of a name. Raises Misconfigured."""
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(CATALOG)}"
    raise Misconfigured(f"{name!r} is no engine that evermq can start: {hint}")
