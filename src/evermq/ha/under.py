"""A child's reader, handed on by a queue made of queues: its deliveries name the child."""

from __future__ import annotations

from collections.abc import Sequence

from evermq.port import Delivery, Reader

__all__ = ["Under"]


class Under:
    """See `Reader`. The receipts are the child's own, so ack and release go straight through."""

    def __init__(self, key: str, reader: Reader) -> None:
        self._key = key
        self._reader = reader

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        found = await self._reader.read(count_max=count_max, wait_ms=wait_ms)
        return [Delivery(each.message, each.position.under(self._key), each.receipt, each.attempt) for each in found]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._reader.ack(deliveries)

    async def release(self, deliveries: Sequence[Delivery], *, delay_ms: int = 0) -> None:
        await self._reader.release(deliveries, delay_ms=delay_ms)

    async def close(self) -> None:
        await self._reader.close()
