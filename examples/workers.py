"""Without asyncio: threads send, each waits for its own acknowledgement, and a plain loop handles."""

import tempfile
from concurrent.futures import ThreadPoolExecutor

import evermq
from evermq.client.blocking import Consumer, Producer, Queue, run

with tempfile.TemporaryDirectory() as place:
    queue = Queue(run(evermq.open(f"log://{place}/orders")))
    with Producer(queue) as producer, ThreadPoolExecutor(8) as threads:
        positions = list(threads.map(lambda number: producer.send(f"order {number}", key=f"{number % 5}"), range(100)))
    print(len(positions), "orders are on the disk")
    handled = 0
    with Consumer(queue, "billing") as consumer:
        while deliveries := consumer.read(wait_ms=200):
            handled += len(deliveries)
            consumer.ack(*deliveries)
    print(handled, "orders were handled, the backlog is", queue.backlog("billing"))
    queue.close()
