"""A handler by decorator. What it cannot handle is tried again with growing pauses, then goes to the dead letters."""

import asyncio
import tempfile
from collections import Counter

import evermq
from evermq.client import Consumer, Producer
from evermq.client.backoff import Backoff


async def main(directory: str) -> None:
    orders = await evermq.open(f"log://{directory}/orders")
    dead = await evermq.open(f"log://{directory}/orders.billing.dead")
    attempts: Counter[bytes] = Counter()
    consumer = Consumer(orders, "billing", dead=dead, attempts_max=3, backoff=Backoff(first_ms=10))

    @consumer
    async def bill(delivery: evermq.Delivery) -> None:
        attempts[delivery.message.body] += 1
        if delivery.message.body == b"a torn form":
            raise ValueError("nobody can read this")
        print("billed:", delivery.message.body.decode())

    async with Producer(orders) as producer, consumer:
        await producer.send_many(["a book", "a torn form", "a lamp"])
        while await orders.backlog("billing"):
            await asyncio.sleep(0.01)
    print("tried", attempts[b"a torn form"], "times, then dead letters:", await dead.backlog("clerk"))
    await dead.close()
    await orders.close()


with tempfile.TemporaryDirectory() as place:
    asyncio.run(main(place))
