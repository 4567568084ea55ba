"""Consumer: what it holds is bounded by its bytes as well."""

from __future__ import annotations

from evermq.adapters.memory import MemoryQueue
from evermq.client import Consumer
from evermq.clock import Clock
from evermq.message import MessageFactory
from evermq.port import Delivery
from evermq.testing.simulation.loop import simulate

_LARGE = b"x" * (1 << 20)


def test_large_messages_of_one_key_do_not_fill_the_memory() -> None:
    """Workers that have nothing to do want more, which may be of other keys: a thousand were held, of a gigabyte."""
    held: list[int] = []
    count = 300

    async def main(clock: Clock) -> None:
        queue, make = MemoryQueue("t", clock=clock), MessageFactory(clock)
        await queue.append([make(_LARGE, key="k") for _ in range(count)])

        async def handle(delivery: Delivery) -> None:
            held.append(consumer._window.count)
            await clock.sleep(100)

        async with Consumer(queue, "g", handle, batch_count_max=10, clock=clock) as consumer:
            consumer._window._count_max = count
            while await queue.backlog("g"):
                await clock.sleep(1_000)

    simulate(1, main)
    assert len(held) == count
    assert max(held) < 80
