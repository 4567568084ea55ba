"""Every group gets every message: one that begins later reads all that is retained, or from a time or offset on."""

import asyncio
import tempfile

import evermq
from evermq import Start


async def read_all(queue: evermq.Queue, group: str, start: Start) -> list[str]:
    reader = await queue.reader(group, start=start)
    bodies = []
    while deliveries := await reader.read(count_max=100, wait_ms=0):
        bodies += [delivery.message.body.decode() for delivery in deliveries]
        await reader.ack(deliveries)
    await reader.close()
    return bodies


async def main(directory: str) -> None:
    queue = await evermq.open(f"log://{directory}/orders?lanes=1")
    message = evermq.MessageFactory()
    await queue.append([message(f"order {number}") for number in range(5)])
    print("billing: ", await read_all(queue, "billing", Start.OLDEST))
    print("shipping:", await read_all(queue, "shipping", Start("offset", 3)))
    print("audit:   ", await read_all(queue, "audit", Start.OLDEST))
    await queue.close()


with tempfile.TemporaryDirectory() as place:
    asyncio.run(main(place))
