"""The same program on every engine: only the URL differs. `python examples/any_engine.py kafka://localhost:9092/orders`

Engines other than the embedded log make nothing by themselves, so first: `evermq topics create URL --groups billing`.
"""

import asyncio
import sys
import tempfile

import evermq
from evermq.client import Consumer, Producer


async def main(url: str) -> None:
    orders = await evermq.open(url)
    print(f"{url}: what is acknowledged is kept as {orders.traits.durable.name}")
    billed = asyncio.Event()

    async def bill(delivery: evermq.Delivery) -> None:
        print("billed:", delivery.message.body.decode(), "for", (delivery.message.key or b"").decode())
        if delivery.message.body == b"a lamp":
            billed.set()

    async with Producer(orders) as producer, Consumer(orders, "billing", bill):
        await producer.send_many([producer.message(body, key="ann") for body in ("a book", "a chair", "a lamp")])
        await asyncio.wait_for(billed.wait(), 30)
    await orders.close()


with tempfile.TemporaryDirectory() as directory:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"log://{directory}/orders"))
