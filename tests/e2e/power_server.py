"""Cuts the power of a disk under load: `python -m tests.e2e.power_server DIRECTORY FSYNC CUTS SEED`, figures as JSON.

Histories lie on another disk. What was settled may come again after a cut, what was acknowledged must be there.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.e2e.door_server import fork_life
from tests.e2e.life import AUDIT, GROUP, OPTIONS, judge, open_place, out_of_order, read_all
from tests.e2e.loop_disk import LoopDisk

from evermq.adapters.log.options import LogOptions

CUTS_A_DISK = 10
PROCESSES = 2


def cut_often(root: Path, fsync: str, cuts: int, seed: int, totals: Counter[str], wrong: list[str]) -> None:
    """So many cuts of one disk, each after a moment of load."""
    chance = random.Random(seed)
    history = root / "history"
    history.mkdir(parents=True)
    with LoopDisk(root, 64) as disk:
        directory = disk.mount_point / "log"
        for cut in range(cuts):
            names = [f"life-{cut}-{i}" for i in range(PROCESSES)]
            pids = [fork_life(directory, history, name, chance.getrandbits(32), fsync) for name in names]
            time.sleep(chance.uniform(0.1, 0.3))
            disk.cut_power(pids)
            asyncio.run(_look(directory, fsync, history, f"look-{cut}", (AUDIT,)))
        asyncio.run(_look(directory, fsync, history, "end", (AUDIT, GROUP)))
    verdict, events = judge(history)
    totals.update(cuts=cuts, acknowledged=verdict.acknowledged, uncertain=verdict.uncertain)
    totals.update(recovered=verdict.recovered, lost=verdict.counts["lost"], phantom=verdict.counts["phantom"])
    wrong += [] if verdict.verdict == "PASS" else [f"seed {seed}: {verdict}"]
    wrong += [f"seed {seed}: out of order: {id}" for id in out_of_order(events)[:5]]


async def _look(directory: Path, fsync: str, history: Path, name: str, groups: tuple[str, ...]) -> None:
    options = LogOptions(segment_bytes=OPTIONS.segment_bytes, lanes=OPTIONS.lanes, fsync=fsync)
    place = open_place(directory, options)
    await read_all(place, history, name, groups)
    await place.close()


def main() -> None:
    root, fsync, cuts, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    totals: Counter[str] = Counter()
    wrong: list[str] = []
    begin = time.monotonic()
    for first in range(0, cuts, CUTS_A_DISK):
        disk = root / f"disk-{seed + first}"
        cut_often(disk, fsync, min(CUTS_A_DISK, cuts - first), seed + first, totals, wrong)
    print(json.dumps({**totals, "wrong": wrong, "elapsed_s": round(time.monotonic() - begin, 1)}))


if __name__ == "__main__":
    main()
