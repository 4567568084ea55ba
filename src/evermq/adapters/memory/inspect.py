"""What a queue in memory survives."""

from __future__ import annotations

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.traits import Durable

__all__ = ["inspect"]


async def inspect(address: Address) -> Inspection:
    """Nothing: it ends with its process."""
    advice = "it ends with its process: for anything but tests use log:///directory/topic or a server"
    return Inspection(Durable.MEMORY, [Finding("memory", "this process", advice)])
