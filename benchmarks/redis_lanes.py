"""The Redis adapter against what a Redis can do by itself: `python benchmarks/redis_lanes.py --quick`.

One server a contender, appendfsync always, 128 lists or streams, messages of 1 KB. See docs/guide/redis.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from lanes.arena import BATCH, LANES, READERS, SIZE
from lanes.ours import appender, consumer
from lanes.peers import lmpop, pushing, streams
from rig.command import parser, read, report
from rig.contender import Case
from rig.environment import disk, machine, versions

NUMBERS = ["F1", "F2", "F3", "F4"]
COUNT = 256_000  # with fewer, the end of a run counts, at which readers wait for more


def cases(directory: Path, count: int) -> list[Case]:
    """Each contender has a directory of its own."""
    peer = pushing(directory / "benchmark")
    ours = consumer(directory / "read", count)
    return [
        Case("F1", appender(directory / "plain", "plain"), peer),
        Case("F2", appender(directory / "keyed", "keyed"), peer),
        Case("F3", ours, streams(directory / "streams", count)),
        Case("F4", ours, lmpop(directory / "lmpop", count)),
    ]


def main() -> None:
    arguments = parser("redis_lanes", "The Redis adapter against redis-benchmark, Streams and LMPOP.")
    arguments.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"messages read, default {COUNT}")
    options = read(arguments, NUMBERS)
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="redis-lanes-", dir=options.directory) as directory:
        around = {
            **machine(),
            **disk(Path(directory)),
            "lanes": LANES,
            "batch": BATCH,
            "bytes": SIZE,
            "readers": READERS,
            "versions": versions("evermq", "redis", "hiredis"),
        }
        report("redis_lanes", options, cases(Path(directory), options.given.count), lambda: around)


if __name__ == "__main__":
    main()
