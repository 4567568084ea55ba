"""An engine that fails as a whole, and is whole again: what a drill does to the primary."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from evermq.drills.engines.engine import Door, Engine
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.errors import Misconfigured

__all__ = ["FAULTS", "PROXIED", "REFUSED", "Outage", "check_fault", "of_doors", "of_engine"]

_Act = Callable[[], Awaitable[None]]

# What a proxy in front does. Small requests, which are heartbeats and polls, keep their answers.
PROXIED = {
    "cut": Fault(cut=True),
    "slow": Fault(delay_ms=1_500),
    "swallow": Fault(swallow=0.2, bytes_min=1_000),
}
FAULTS = ("kill", "stop", "freeze", *PROXIED)
REFUSED = ("kill", "stop")  # the port of a process that is gone refuses; behind a proxy, and frozen, it is silent


@dataclass(frozen=True, slots=True)
class Outage:
    """begin, heal: heal returns when the engine answers again, and raises Unavailable where it does not.
    total: nothing is acknowledged meanwhile, so every sender has to leave. refuses: who asks it is told so at once, and
    waits for no answer. clients_s: one client more is killed every so many seconds meanwhile, 0 for none."""

    name: str
    begin: _Act
    heal: _Act
    total: bool = True
    refuses: bool = False
    clients_s: float = 0.0


def check_fault(fault: str, *more: str) -> str:
    """Return it. more: other faults that are known where it is made. Raises Misconfigured where there is none such."""
    known = (*FAULTS, *more)
    if fault not in known:
        raise Misconfigured(f"--fault {fault} is not known here: give one of {', '.join(known)}")
    return fault


def of_engine(engine: Engine, fault: str) -> Outage:
    """Of all nodes of an engine that was started here; clients that a proxy is to trouble use its proxied URL, and the
    proxies are to be opened by `of_doors`."""
    nodes = [node for node in engine.nodes.values() if node.name != "epmd"]  # names of nodes are no node

    async def heal() -> None:
        await asyncio.to_thread(engine.heal)

    async def each(verb: str) -> None:
        await asyncio.gather(*(asyncio.to_thread(getattr(node, verb)) for node in nodes))

    verbs = {"kill": "kill", "stop": "stop", "freeze": "freeze"}
    return Outage(fault, lambda: each(verbs[fault]), heal, refuses=fault in REFUSED)


async def of_doors(doors: Sequence[Door], fault: str) -> tuple[Outage, list[Proxy]]:
    """Of everything that comes in by these doors, at which proxies stand from now on."""
    proxies = [Proxy(door) for door in doors]
    for proxy in proxies:
        await proxy.__aenter__()

    async def begin() -> None:
        await asyncio.gather(*(proxy.set(PROXIED[fault]) for proxy in proxies))

    async def heal() -> None:
        await asyncio.gather(*(proxy.heal() for proxy in proxies))

    return Outage(fault, begin, heal, total=fault != "swallow"), proxies
