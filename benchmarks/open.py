"""Opening a long log, in a process of its own each time: `python benchmarks/open.py --quick`.

The peer reads every frame of the same directory once (`evermq verify`), as one must where there is no index.
The figures that count are in `environment`: seconds until it is open, and the memory that takes.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.system_disk import SystemDisk
from evermq.adapters.log.verify import verify
from evermq.message import MessageFactory
from rig.command import parser, read
from rig.environment import machine, versions

COUNT, COUNT_QUICK = 10_000_000, 1_000_000
BATCH = 10_000
OPTIONS = LogOptions(fsync="never", retain_bytes=1 << 50)


async def build(directory: Path, count: int) -> None:
    """Messages of a hundred bytes under five hundred keys."""
    place = LogPlace(SystemDisk(directory), OPTIONS)
    queue = await place.queue("orders")
    make = MessageFactory()
    for _ in range(count // BATCH):
        queue.append_blocking([make(b"%0100d" % i, key=b"%03d" % (i % 500)) for i in range(BATCH)])
    await place.close()


async def open_once(directory: Path) -> None:
    """In a child: how long it took, and the memory that it took."""
    before = _memory_mb("VmRSS")
    begin = time.perf_counter()
    place = LogPlace(SystemDisk(directory), OPTIONS)
    backlog = await (await place.queue("orders")).backlog("g")
    figures = {"seconds": time.perf_counter() - begin, "memory_mb": _memory_mb("VmHWM") - before, "backlog": backlog}
    await place.close()
    print(json.dumps(figures))


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def in_child(directory: Path) -> dict[str, Any]:
    """Open the directory in a new process."""
    command = [sys.executable, __file__, "--child", str(directory)]
    figures: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return figures


def read_all(directory: Path) -> float:
    """Seconds to read every frame."""
    begin = time.perf_counter()
    verify(directory)
    return time.perf_counter() - begin


def compare(directory: Path, rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row, and what it took."""
    opened: list[dict[str, Any]] = []
    reads: list[float] = []
    for _ in range(rounds):
        for turn in random.sample(("open", "read"), 2):
            if turn == "open":
                opened.append(in_child(directory))
            else:
                reads.append(read_all(directory))
    seconds = [each["seconds"] for each in opened]
    ratios = [peer / own for own, peer in zip(seconds, reads, strict=True)]
    row = {
        "case": "open",
        "subject": "LogPlace, opened",
        "peer": "every frame, read once",
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "rounds": rounds,
        "subject_per_s": 1 / statistics.median(seconds),
        "peer_per_s": 1 / statistics.median(reads),
    }
    took = {"open_s": statistics.median(seconds), "open_memory_mb": max(each["memory_mb"] for each in opened)}
    return row, {**took, "messages": opened[0]["backlog"]}


def main() -> None:
    arguments = parser("open", "Opening a long log against reading all of it.")
    options = read(arguments, ["open"])
    count = COUNT_QUICK if options.given.quick else COUNT
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        print(f"building a log of {count} messages ...", file=sys.stderr)
        asyncio.run(build(Path(directory), count))
        row, took = compare(Path(directory), options.rounds)
    content = {"benchmark": "open", "environment": {**machine(), **took, "versions": versions("evermq")}, "rows": [row]}
    if options.out:
        options.out.write_text(json.dumps(content))
    if options.json:
        print(json.dumps(content))
    else:
        words = f"{took['messages']} messages: open after {took['open_s']:.2f} s and {took['open_memory_mb']:.0f} MB"
        print(f"{words}; reading every frame takes {row['ratio']:.0f} times as long")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(open_once(Path(sys.argv[2])))
    else:
        main()
