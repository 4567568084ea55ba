"""From a kafka:// address to a connected place."""

from __future__ import annotations

from evermq.adapters.address import Address
from evermq.adapters.kafka.admin import Admin
from evermq.adapters.kafka.place import KafkaPlace
from evermq.adapters.kafka.sender import Sender
from evermq.adapters.kafka.settings import Settings

__all__ = ["connect"]


async def connect(address: Address) -> KafkaPlace:
    """Raises Misconfigured for a wrong option, Denied where brokers refuse, Unavailable where none answers."""
    settings = Settings.of(address)
    admin = Admin(settings)
    await admin.ping()
    sender = Sender(settings)
    try:
        await sender.open()
    except BaseException:
        await sender.close()
        raise
    return KafkaPlace(settings, admin, sender)
