"""Forks lives and kills them: `python -m tests.e2e.kill_server DIRECTORY KIND COUNT SEED`, the figures as JSON.

A process of its own, without threads, since only such a one may fork. KIND: `call` (at the Nth call to the disk, some
of them in the middle of a write), `moment` (SIGKILL from outside).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.e2e.dying_disk import HookedDisk, die_at
from tests.e2e.life import AUDIT, GROUP, OPTIONS, Life, came_again, judge, open_place, out_of_order, read_all

from evermq.adapters.log.owner import OwnerLock
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.system_disk import SystemDisk

LIVES_MAX = 12  # in one directory


async def _live(directory: Path, history: Path, name: str, seed: int, call: int) -> None:
    chance = random.Random(seed)
    disk = HookedDisk(directory, die_at(call, torn=chance.random() < 0.5)) if call else SystemDisk(directory)
    place = LogPlace(disk, OPTIONS, owner=OwnerLock(directory))
    await Life(place, history, name, chance).play(60 if call else 100_000)
    await place.close()


def fork_life(directory: Path, history: Path, name: str, seed: int, call: int) -> int:
    """A child that lives until call number `call` to its disk, or until it is killed (0)."""
    pid = os.fork()
    if pid:
        return pid
    try:
        asyncio.run(_live(directory, history, name, seed, call))
        os._exit(0)
    except BaseException as error:
        print(f"{name}: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)


class Series:
    """Lives in one directory, one after the other, each killed."""

    def __init__(self, root: Path, kind: str, seed: int) -> None:
        self._chance = random.Random(seed)
        self._kind = kind
        self.seed = seed
        self.directory, self.history = root / f"log-{seed}", root / f"history-{seed}"
        self.history.mkdir(parents=True)
        self.directory.mkdir()
        self.kills = 0

    def run(self, kills_max: int) -> None:
        for number in range(LIVES_MAX):
            if self.kills >= kills_max:
                break
            self._one(number)
            if self._chance.random() < 0.4:
                asyncio.run(self.look(f"look-{number}", (AUDIT,)))

    def _one(self, number: int) -> None:
        call = int(1.2 ** self._chance.uniform(0, 30)) if self._kind == "call" else 0
        pid = fork_life(self.directory, self.history, f"life-{number}", self._chance.getrandbits(32), call)
        if not call:
            time.sleep(self._chance.uniform(0, 0.08))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.kills += 1
        elif status:
            raise SystemExit(f"seed {self.seed}: life {number} ended by itself with status {status}")

    async def look(self, name: str, groups: tuple[str, ...]) -> None:
        """Open what the killed ones left and read it."""
        place = open_place(self.directory)
        await read_all(place, self.history, name, groups)
        await place.close()

    def end(self, totals: Counter[str], wrong: list[str]) -> None:
        asyncio.run(self.look("end", (AUDIT, GROUP)))
        verdict, events = judge(self.history)
        bad = [f"settled, and came again: {id}" for id in came_again(events)]
        bad += [f"out of order: {id}" for id in out_of_order(events)]
        bad += [str(verdict)] if verdict.verdict != "PASS" else []
        wrong += [f"seed {self.seed}: {each}" for each in bad[:5]]
        totals.update(kills=self.kills, acknowledged=verdict.acknowledged, uncertain=verdict.uncertain)
        totals.update(recovered=verdict.recovered, lost=verdict.counts["lost"], phantom=verdict.counts["phantom"])
        totals.update(came_again=verdict.counts["duplicates_raw"])
        if not bad:
            shutil.rmtree(self.directory)
            shutil.rmtree(self.history)


def main() -> None:
    root, kind, count, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    totals: Counter[str] = Counter()
    wrong: list[str] = []
    begin = time.monotonic()
    while totals["kills"] < count and len(wrong) < 10:
        series = Series(root, kind, seed)
        series.run(count - totals["kills"])
        series.end(totals, wrong)
        seed += 1
    print(json.dumps({**totals, "wrong": wrong, "elapsed_s": round(time.monotonic() - begin, 1)}))


if __name__ == "__main__":
    main()
