"""What the machine leaves of a goal to any program in Python: `python benchmarks/bounds.py --quick`.

The floors were set on another machine. Here the least that Python must do (least.py of embedded, brokers and lanes)
takes our place, against the same peers in the same way: a bound below a floor says that nobody reaches it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brokers.arena import Arena
from brokers.broker_bound import prepared
from brokers.frameworks import faststream_publish
from brokers.least import Numbered, least_reading, least_sending
from brokers.peers import aiokafka_send, confluent_consume, confluent_produce
from embedded.least import least_awaiting, least_blocking, least_consumer, least_group_reader
from embedded.raw import raw
from embedded.reading import plain_read, sqlite_consumer
from embedded.servers import redis_list
from embedded.stores import lmdb_store, rocksdb_store, sqlite_store
from embedded.workbench import Workbench
from engines import STOCK, TASKS
from ladder.healthy import there_and_back
from ladder.rungs import Rungs
from lanes.least import least_consumer as popping
from lanes.peers import lmpop, streams
from redis_lanes import COUNT
from rig.command import Options, parser, read, report
from rig.contender import Case
from rig.environment import disk, machine, versions

KB = 1024
OF_THE_LOG = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B12", "B13", "B14", "B15", "B16", "B20", "B21"]
OVER_KAFKA = ["D1", "D2", "D3", "D4", "D5", "F6"]
OVER_REDIS = ["F3", "F4"]


def of_the_log(bench: Workbench) -> list[Case]:
    """The same peers as in log.py."""
    batches, one, raw_many = least_blocking(bench, 256, KB), least_blocking(bench, 1, KB), raw(bench, 256, KB)
    return [
        Case("B1", least_awaiting(bench, 4, 256, KB), raw(bench, 4 * 256, KB)),
        Case("B2", least_awaiting(bench, 4, 256, 10 * KB), raw(bench, 4 * 256, 10 * KB)),
        Case("B3", least_awaiting(bench, 4, 4096, 100), raw(bench, 4 * 4096, 100)),
        Case("B4", least_awaiting(bench, 256, 1, KB), raw_many),
        Case("B5", least_awaiting(bench, 256, 1, KB, loop="uvloop"), raw_many),
        Case("B6", least_awaiting(bench, 256, 1, 10 * KB), raw(bench, 256, 10 * KB)),
        Case("B7", least_awaiting(bench, 1, 1, KB), raw(bench, 1, KB)),
        Case("B8", least_awaiting(bench, 16, 1, KB), raw(bench, 16, KB)),
        Case("B9", one, raw(bench, 1, KB)),
        Case("B12", batches, sqlite_store(bench, 256, KB)),
        Case("B13", batches, lmdb_store(bench, 256, KB)),
        Case("B14", batches, rocksdb_store(bench, 256, KB)),
        Case("B15", batches, redis_list(bench, 256, KB)),
        Case("B16", one, sqlite_store(bench, 1, KB)),
        Case("B20", least_group_reader(bench), plain_read(bench)),
        Case("B21", least_consumer(bench), sqlite_consumer(bench, KB)),
    ]


def over_kafka(rungs: Rungs) -> list[Case]:
    """The same peers as in engines.py and degrade.py."""

    async def numbered() -> Numbered:
        return Numbered(await rungs.primary())

    large = prepared(rungs.kafka, KB)
    return [
        Case("D1", large, confluent_produce(rungs.kafka, KB)),
        Case("D2", prepared(rungs.kafka, 100), confluent_produce(rungs.kafka, 100)),
        Case("D4", large, faststream_publish(rungs.kafka, KB, TASKS)),
        Case("D3", least_sending(rungs.kafka, KB, 256), aiokafka_send(rungs.kafka, KB, 256)),
        Case("D5", least_reading(rungs.kafka, STOCK), confluent_consume(rungs.kafka, STOCK)),
        Case(
            "F6",
            there_and_back("the least, a number a message", rungs, numbered),
            there_and_back("bare kafka", rungs, rungs.primary),
        ),
    ]


def over_redis(directory: Path) -> list[Case]:
    """The same peers as in redis_lanes.py."""
    found = popping(directory / "least", COUNT)
    return [
        Case("F3", found, streams(directory / "streams", COUNT)),
        Case("F4", found, lmpop(directory / "lmpop", COUNT)),
    ]


@contextmanager
def cases(bench: Workbench, options: Options) -> Iterator[list[Case]]:
    """Nothing is started that was not asked for."""
    with Arena() as kafka, asyncio.Runner() as runner:
        over = over_kafka(Rungs(kafka, "", options.directory, runner))
        yield [*of_the_log(bench), *over, *over_redis(bench.path("redis"))]


def main() -> None:
    options = read(parser("bounds", "What is possible here at most."), [*OF_THE_LOG, *OVER_KAFKA, *OVER_REDIS])
    with Workbench(options.directory, "plain") as bench, cases(bench, options) as found:
        around = {**machine(), **disk(bench.directory)}
        report("bounds", options, found, lambda: {**around, "versions": versions("evermq", "crc32c", "aiokafka")})


if __name__ == "__main__":
    main()
