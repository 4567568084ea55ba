"""Kills owners behind the socket door: `python -m tests.e2e.door_server DIRECTORY COUNT SEED`, the figures as JSON.

Three processes share one directory; whichever owns it is killed while the others use it through its socket, and a new
one comes in its place.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from tests.e2e.life import AUDIT, GROUP, OPTIONS, Life, judge, open_place, out_of_order, read_all

from evermq.adapters.open import open_log

KILLS_A_DIRECTORY = 20
PROCESSES = 3


async def _live(directory: Path, history: Path, name: str, seed: int, fsync: str) -> None:
    options = {key: getattr(OPTIONS, key) for key in ("segment_bytes", "lanes", "interval_ms", "spares_max")}
    place = await open_log(directory, fsync=fsync, **options)
    await Life(place, history, name, random.Random(seed)).play(100_000)


def fork_life(directory: Path, history: Path, name: str, seed: int, fsync: str = "always") -> int:
    """A child that shares the directory until it is killed."""
    pid = os.fork()
    if pid:
        return pid
    try:
        asyncio.run(_live(directory, history, name, seed, fsync))
    except BaseException as error:
        print(f"{name}: {error!r}", file=sys.stderr, flush=True)
    os._exit(1)


class Household:
    """The processes of one directory."""

    def __init__(self, root: Path, seed: int) -> None:
        self.directory, self.history = root / f"shared-{seed}", root / f"history-{seed}"
        self.history.mkdir(parents=True)
        self.directory.mkdir()
        self._names: Iterator[int] = count()
        self._chance = random.Random(seed)
        self._pids: set[int] = set()

    def run(self, kills: int) -> None:
        try:
            for _ in range(kills):
                self._fill()
                owner = self._owner()
                time.sleep(self._chance.uniform(0.02, 0.12))
                self._kill(owner)
        finally:
            for pid in list(self._pids):
                self._kill(pid)

    def _fill(self) -> None:
        while len(self._pids) < PROCESSES:
            name = f"life-{next(self._names)}"
            self._pids.add(fork_life(self.directory, self.history, name, self._chance.getrandbits(32)))

    def _owner(self) -> int:
        """Whoever of ours owns the directory, waited for."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            lock = self.directory / "lock"
            pid = lock.read_text().strip() if lock.exists() else ""
            if pid.isdigit() and int(pid) in self._pids:
                return int(pid)
            time.sleep(0.002)
        raise SystemExit(f"nobody took {self.directory} over for ten seconds")

    def _kill(self, pid: int) -> None:
        self._pids.discard(pid)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"a life in {self.directory} ended by itself with status {status}")


async def _look(directory: Path, history: Path) -> None:
    place = open_place(directory)
    await read_all(place, history, "end", (AUDIT, GROUP))
    await place.close()


def main() -> None:
    root, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    totals: Counter[str] = Counter()
    wrong: list[str] = []
    begin = time.monotonic()
    for number in range(-(-kills // KILLS_A_DIRECTORY)):
        household = Household(root, seed + number)
        household.run(KILLS_A_DIRECTORY)
        asyncio.run(_look(household.directory, household.history))
        verdict, events = judge(household.history)
        wrong += [] if verdict.verdict == "PASS" else [f"seed {seed + number}: {verdict}"]
        wrong += [f"seed {seed + number}: out of order: {id}" for id in out_of_order(events)[:5]]
        totals.update(kills=KILLS_A_DIRECTORY, acknowledged=verdict.acknowledged, uncertain=verdict.uncertain)
        totals.update(recovered=verdict.recovered, lost=verdict.counts["lost"], phantom=verdict.counts["phantom"])
    print(json.dumps({**totals, "wrong": wrong, "elapsed_s": round(time.monotonic() - begin, 1)}))


if __name__ == "__main__":
    main()
