"""What a consumer has taken and not finished: in order within a key, keys side by side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence

from evermq.client.pace import Pace
from evermq.port import Delivery

__all__ = ["Window"]

_Slot = bytes | int
_BYTES_MAX = 64 << 20


class Window:
    """A queue a key. A key is either ready, being worked on, or waiting for its next attempt. At `count_max` messages,
    or 64 MiB of bodies, there is no room until something is finished.

    A message without a key is a key of its own.
    """

    def __init__(self, count_max: int, pace: Pace) -> None:
        self._count_max = count_max
        self._pace = pace
        self._keys: dict[_Slot, deque[Delivery]] = {}
        self._ready: deque[_Slot] = deque()
        self._unkeyed = 0
        self._added = 0
        self._idle = 0  # workers with nothing to work on
        self._low = 0  # so few ready ones are few
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._bytes = 0
        self.count = 0

    async def wait_for_room(self) -> int:
        """Wait until more is needed; returns how much fits of what the workers begin soon.

        Where workers are idle more is needed, whatever is held: it may be of other keys."""
        while True:
            ahead = self._pace.look(self._added - self.count)
            self._low = ahead // 2
            room = min(self._count_max - self.count, self._idle + ahead - len(self._ready))
            if room > 0 and self._bytes < _BYTES_MAX and len(self._ready) <= self._low:
                return room
            self._room.clear()
            await self._room.wait()

    def add(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            self._pace.go()
        for delivery in deliveries:
            slot: _Slot | None = delivery.message.key
            if slot is None:
                self._unkeyed += 1
                slot = self._unkeyed
            found = self._keys.get(slot)
            if found is None:
                self._keys[slot] = deque((delivery,))
                self._ready.append(slot)
            else:
                found.append(delivery)
            self._bytes += len(delivery.message.body)
        self.count += len(deliveries)
        self._added += len(deliveries)
        self._news.set()

    async def next(self) -> tuple[_Slot, Delivery]:
        """The next delivery to work on; its key is this worker's until `done`, `again` or `drop`."""
        while not self._ready:
            await self._idle_for_a_while()
        slot = self._ready.popleft()
        if len(self._ready) == self._low:
            self._room.set()
        return slot, self._keys[slot][0]

    async def _idle_for_a_while(self) -> None:
        self._idle += 1
        self._room.set()
        self._news.clear()
        try:
            await self._news.wait()
        finally:
            self._idle -= 1

    def done(self, slot: _Slot) -> None:
        """The key's first delivery is finished."""
        waiting = self._keys[slot]
        gone = waiting.popleft()
        if waiting:
            self.again(slot)
        else:
            del self._keys[slot]
        self._leave([gone])

    def again(self, slot: _Slot) -> None:
        """The key's first delivery is ready to be worked on."""
        self._ready.append(slot)
        self._news.set()

    def held(self, slot: _Slot) -> list[Delivery]:
        """The key's deliveries."""
        return list(self._keys[slot])

    def drop(self, slot: _Slot) -> None:
        """The key's deliveries go back to the queue."""
        self._leave(self._keys.pop(slot))

    def drop_first(self, slot: _Slot, count: int) -> None:
        """The key's first `count` deliveries went back to the queue; what was read meanwhile is ready."""
        self._leave([self._keys[slot].popleft() for _ in range(count - 1)])
        self.done(slot)

    def _leave(self, gone: Collection[Delivery]) -> None:
        if self.count >= self._count_max or self._bytes >= _BYTES_MAX:
            self._room.set()
        self.count -= len(gone)
        self._bytes -= sum([len(delivery.message.body) for delivery in gone])
        if not self.count:
            self._pace.rest()
