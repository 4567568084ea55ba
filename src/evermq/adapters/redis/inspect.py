"""What the settings of a Redis keep of what it acknowledged."""

from __future__ import annotations

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.redis.connect import topology
from evermq.adapters.redis.options import RedisOptions
from evermq.adapters.redis.settings import Settings
from evermq.traits import Durable

__all__ = ["inspect"]


async def inspect(address: Address) -> Inspection:
    """Of all servers that take writes, the weakest; a setting that throws messages away is no class at all."""
    options = RedisOptions.of(address.options)
    servers = topology(address, options)
    durable = Durable.CENTRE
    findings: list[Finding] = []
    try:
        for server in await servers.servers():
            settings = await Settings.read(server)
            durable = min(durable, settings.durable)
            some = [Finding("version", settings.version), *settings.findings(options.wait_replicas)]
            several = servers.splits
            findings += [each._replace(setting=f"{server.where} {each.setting}") if several else each for each in some]
            if settings.evicts:
                durable = Durable.MEMORY
    finally:
        await servers.close()
    return Inspection(durable, findings)
