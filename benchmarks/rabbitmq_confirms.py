"""Confirmed appends to a quorum queue, beside aio-pika: `python benchmarks/rabbitmq_confirms.py --quick`.

One real server, one connection and one queue each, persistent mandatory messages of 1 KB, 500 awaited at a time.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evermq.adapters.open import open_place
from evermq.drills.engines.rabbitmq import RabbitMQ
from evermq.message import MessageFactory
from evermq.port import Place
from rig.command import parser, read, report
from rig.contender import Case, Contender, Measure
from rig.environment import disk, machine, versions

NUMBERS = ["D7"]
BATCH, SIZE = 500, 1024
Send = Callable[[], Awaitable[object]]


def measuring(loop: asyncio.AbstractEventLoop, send: Send) -> Measure:
    """Batches for about so long; messages a second."""

    async def measure(seconds: float) -> float:
        begun, batches = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            await send()
            batches += 1
        return batches * BATCH / (time.perf_counter() - begun)

    return lambda seconds: loop.run_until_complete(measure(seconds))


def ours(server: RabbitMQ) -> Contender:
    """evermq's `append` of 500."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        loop = asyncio.new_event_loop()
        place, send = loop.run_until_complete(_ours(server))
        yield measuring(loop, send)
        loop.run_until_complete(place.drop("ours"))
        loop.run_until_complete(place.close())
        loop.close()

    return Contender("evermq append of 500", ready)


async def _ours(server: RabbitMQ) -> tuple[Place, Send]:
    place = await open_place(server.url())
    await place.create("ours", groups=["readers"], lanes=1)
    queue = await place.queue("ours")
    make, body = MessageFactory(), bytes(SIZE)

    async def send() -> object:
        return await queue.append([make(body) for _ in range(BATCH)])

    for _ in range(4):
        await send()
    return place, send


def aio_pika(server: RabbitMQ) -> Contender:
    """`exchange.publish`, 500 gathered."""

    @contextmanager
    def ready() -> Iterator[Measure]:
        loop = asyncio.new_event_loop()
        queue, connection, send = loop.run_until_complete(_theirs(server))
        yield measuring(loop, send)
        loop.run_until_complete(queue.delete(if_unused=False, if_empty=False))
        loop.run_until_complete(connection.close())
        loop.close()

    return Contender("aio-pika, window of 500", ready, needs={"aio_pika": "aio-pika"})


async def _theirs(server: RabbitMQ) -> tuple[Any, Any, Send]:
    import aio_pika

    connection = await aio_pika.connect(server.url().replace("rabbitmq://", "amqp://guest:guest@"))
    channel = await connection.channel(publisher_confirms=True)
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    queue = await channel.declare_queue("theirs", durable=True, arguments=arguments)
    body = bytes(SIZE)

    async def one() -> None:
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key="theirs", mandatory=True)

    async def send() -> object:
        return await asyncio.gather(*(one() for _ in range(BATCH)))

    for _ in range(4):
        await send()
    return queue, connection, send


def main() -> None:
    options = read(parser("rabbitmq_confirms", "The RabbitMQ adapter's append against aio-pika."), NUMBERS)
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rabbitmq-", dir=options.directory) as directory, RabbitMQ() as server:
        around = {**machine(), **disk(Path(directory)), "batch": BATCH, "bytes": SIZE}
        around["versions"] = versions("evermq", "aiormq", "aio-pika")
        report("rabbitmq_confirms", options, [Case("D7", ours(server), aio_pika(server))], lambda: around)


if __name__ == "__main__":
    main()
