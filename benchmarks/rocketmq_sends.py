"""Appends to a RocketMQ, beside its official client: `python benchmarks/rocketmq_sends.py --quick`.

One real server that flushes before it answers, one normal topic of four queues each, messages of 1 KB: batches of 100
with 8 appends under way against `send_async` with 128 in flight.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from evermq.adapters.open import open_place
from evermq.drills.engines.rocketmq import RocketMQ
from evermq.message import MessageFactory
from evermq.port import Place
from rig.command import parser, read, report
from rig.contender import Case, Contender, Measure
from rig.environment import disk, machine, versions

NUMBERS = ["D8"]
BATCH, SIZE, SENDERS, IN_FLIGHT = 100, 1024, 8, 128
_NUMBERS = count(1)


def ours(server: RocketMQ) -> Contender:
    """evermq's `append` of 100, 8 under way."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        with asyncio.Runner() as runner:
            topic = f"ours-{next(_NUMBERS)}"
            place = runner.run(_made(server, topic))
            queue = runner.run(place.queue(topic))
            make, body = MessageFactory(), bytes(SIZE)

            async def work(seconds: float) -> float:
                begun, end = time.perf_counter(), time.perf_counter() + seconds

                async def send() -> int:
                    done = 0
                    while time.perf_counter() < end:
                        await queue.append([make(body) for _ in range(BATCH)])
                        done += BATCH
                    return done

                done = sum(await asyncio.gather(*(send() for _ in range(SENDERS))))
                return done / (time.perf_counter() - begun)

            runner.run(work(0.5))
            yield lambda seconds: runner.run(work(seconds))
            runner.run(place.drop(topic))
            runner.run(place.close())

    return Contender(f"evermq append of {BATCH}, {SENDERS} under way", ready)


async def _made(server: RocketMQ, topic: str) -> Place:
    place = await open_place(server.url())
    await place.create(topic, groups=["readers"], lanes=4)
    return place


def official(server: RocketMQ) -> Contender:
    """`Producer.send_async`."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        import rocketmq

        server.create(topic := f"theirs-{next(_NUMBERS)}")
        settings = rocketmq.ClientConfiguration(f"127.0.0.1:{server.grpc_port}", rocketmq.Credentials())
        producer = rocketmq.Producer(settings, (topic,))
        producer.startup()
        _work(producer, topic, 0.5)
        yield lambda seconds: _work(producer, topic, seconds)
        producer.shutdown()

    needs = {"rocketmq": "rocketmq-python-client"}
    return Contender(f"rocketmq-python-client send_async, {IN_FLIGHT} in flight", ready, needs=needs)


def _work(producer: Any, topic: str, seconds: float) -> float:
    import rocketmq

    body, done, flying = bytes(SIZE), 0, list[Future[Any]]()
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        while len(flying) < IN_FLIGHT:
            message = rocketmq.Message()
            message.topic, message.body = topic, body
            flying.append(producer.send_async(message))
        flying.pop(0).result(10)
        done += 1
    for each in flying:
        each.result(10)
    return (done + len(flying)) / (time.perf_counter() - begun)


def main() -> None:
    options = read(parser("rocketmq_sends", "The RocketMQ adapter's append against the official client."), NUMBERS)
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rocketmq-", dir=options.directory) as directory, RocketMQ() as server:
        around = {**machine(), **disk(Path(directory)), "batch": BATCH, "bytes": SIZE}
        around["versions"] = versions("evermq", "grpcio", "rocketmq-python-client")
        report("rocketmq_sends", options, [Case("D8", ours(server), official(server))], lambda: around)


if __name__ == "__main__":
    main()
