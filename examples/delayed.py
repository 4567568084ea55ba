"""A reminder that is not delivered before its time; what was sent after it passes by."""

import asyncio
import tempfile
import time

import evermq
from evermq.client import Consumer, Producer


async def main(directory: str) -> None:
    queue = await evermq.open(f"log://{directory}/mail")
    consumer = Consumer(queue, "postman")
    async with Producer(queue) as producer:
        begin = time.monotonic()
        await producer.send("a reminder", delay_ms=500)
        await producer.send("a letter")
    async for delivery in consumer:
        print(f"{time.monotonic() - begin:.1f} s:", delivery.message.body.decode())
        await consumer.ack(delivery)
        if delivery.message.body == b"a reminder":
            break
    await consumer.stop()
    await queue.close()


with tempfile.TemporaryDirectory() as place:
    asyncio.run(main(place))
