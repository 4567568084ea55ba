"""The primary goes away and comes back. Senders notice nothing; the reader reads both rungs all the time."""

import asyncio
import tempfile

import evermq
from evermq.client import Consumer, Producer
from evermq.ha.failover import Failover
from evermq.testing.faulty import Faulty


async def main(directory: str) -> None:
    primary = Faulty(await evermq.open(f"log://{directory}/a/orders"))  # so that it can be taken away
    standby = await evermq.open(f"log://{directory}/b/orders")
    queue = Failover(primary=primary, standby=standby)
    async with Producer(queue) as producer:
        print("taken by the", (await producer.send("a book")).via)
        primary.down()
        print("taken by the", (await producer.send("a lamp")).via)
        primary.up()
        print("taken by the", (await producer.send("a chair")).via)
    consumer, handled = Consumer(queue, "billing"), 0
    async for delivery in consumer:
        print("read from the", delivery.position.via, delivery.message.body.decode())
        await consumer.ack(delivery)
        handled += 1
        if handled == 3:
            break
    await consumer.stop()
    await queue.close()


with tempfile.TemporaryDirectory() as place:
    asyncio.run(main(place))
