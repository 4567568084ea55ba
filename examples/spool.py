"""The local disk acknowledges, whatever the remote queue does; a pump carries on when that is back."""

import asyncio
import tempfile

import evermq
from evermq.client import Producer
from evermq.ha.spooled import Spooled
from evermq.testing.faulty import Faulty


async def main(directory: str) -> None:
    local = await evermq.open(f"log://{directory}/spool/orders")
    remote = Faulty(await evermq.open(f"log://{directory}/remote/orders"))
    async with Spooled(local=local, remote=remote) as queue:
        remote.down()
        async with Producer(queue) as producer:
            await producer.send_many(["a book", "a lamp", "a chair"])
        print("acknowledged while the remote queue is down; spooled:", await local.backlog("pump"))
        remote.up()
        while await local.backlog("pump"):
            await asyncio.sleep(0.01)
        print("the remote queue is back and has them:", await remote.backlog("billing"))


with tempfile.TemporaryDirectory() as place:
    asyncio.run(main(place))
