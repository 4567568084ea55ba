"""One Redis with 128 lists, synced at every write, and an event loop to work on it."""

from __future__ import annotations

import asyncio
import csv
import subprocess
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rig.contender import NotThere
from rig.install import binary, need
from rig.server import free_port, serving

__all__ = ["BATCH", "LANES", "READERS", "SIZE", "Arena", "redis_benchmark", "running"]

LANES, BATCH, SIZE, READERS = 128, 500, 1024, 4
T = TypeVar("T")


@dataclass
class Arena:
    """A server that runs, and the loop that all work on it shares."""

    port: int
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def client(self) -> Any:
        """redis-py as it comes, with hiredis."""
        import redis.asyncio

        return redis.asyncio.Redis(port=self.port)


@contextmanager
def running(directory: Path) -> Iterator[Arena]:
    """A server of its own; what it wrote stays in the directory."""
    need(redis="redis", hiredis="hiredis")
    program = binary("redis-server")
    if program is None:
        raise NotThere("redis-server is not here: apt-get install redis-server")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    kept = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--save", ""]
    loop = asyncio.new_event_loop()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory), *kept]
    try:
        with serving(command, port):
            yield Arena(port, loop)
    finally:
        loop.close()


def redis_benchmark(port: int, count: int) -> float:
    """RPUSH of one message to one of the lists, 500 in a pipeline, 8 connections; messages a second."""
    program = binary("redis-benchmark")
    if program is None:
        raise NotThere("redis-benchmark is not here: apt-get install redis-tools")
    command = [program, "-p", str(port), "-n", str(count), "-P", str(BATCH), "-c", "8", "-r", str(LANES), "--csv"]
    push = ["RPUSH", "list:__rand_int__", "x" * SIZE]
    done = subprocess.run([*command, *push], capture_output=True, text=True, timeout=120, check=True)
    return float(list(csv.reader(done.stdout.splitlines()))[-1][1])
