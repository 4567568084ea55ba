"""From a kafka:// address to a connected place."""

from __future__ import annotations

from contextlib import AsyncExitStack

from evermq.adapters.address import Address
from evermq.adapters.kafka.admin import Admin
from evermq.adapters.kafka.making import check
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings

__all__ = ["connect"]


async def connect(address: Address) -> KafkaPlace:
    """Raises Misconfigured for a wrong option, Denied where brokers refuse, Unavailable where none answers."""
    settings = Settings.of(address)
    check(settings)
    async with AsyncExitStack() as opened:
        admin = Admin(settings)
        opened.push_async_callback(admin.close)
        await admin.ping()
        sender = Sender(settings)
        opened.push_async_callback(sender.close)
        await sender.open()
        place = KafkaPlace(settings, admin, sender)
        opened.pop_all()
        return place
