"""What the settings of a Redis keep of what it acknowledged."""

from __future__ import annotations

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.redis.connect import opener, topology
from evermq.adapters.redis.options import RedisOptions
from evermq.adapters.redis.server import Server
from evermq.adapters.redis.settings import Settings
from evermq.errors import EvermqError
from evermq.traits import Durable

__all__ = ["inspect"]

_NEEDED = "min-replicas-to-write"


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
            for replica in settings.replicas:
                findings += await _replica(opener(address, options)(replica), settings, bool(options.sentinel))
    finally:
        await servers.close()
    return Inspection(durable, findings)


async def _replica(server: Server, master: Settings, sentinels: bool) -> list[Finding]:
    """What is weaker there than at its master, whose place it may take."""
    try:
        settings = await Settings.read(server)
    except EvermqError as error:
        return [Finding(f"replica {server.where}", "unknown", f"it may take over, and cannot be asked: {error}")]
    finally:
        await server.close()
    if sentinels and settings.info.get("slave_priority") == "0":
        return []  # they never promote it; a cluster does not ask
    known = master.weaknesses()
    weaker = [each for each in settings.weaknesses() if each not in known]
    needed, there = (int(each.said.get(_NEEDED, "0")) for each in (master, settings))
    if there < needed:
        weaker.append(Finding(_NEEDED, str(there), f"promoted and cut off it takes writes that are lost: set {needed}"))
    return [each._replace(setting=f"replica {server.where} {each.setting}") for each in weaker]
