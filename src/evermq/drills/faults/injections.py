"""Faults of real servers, for `run_load(…, fault=…)`: each notes when it begins and when all is whole again."""

from __future__ import annotations

import asyncio
import time

from evermq.drills.engines.engine import Engine
from evermq.drills.engines.node import Node
from evermq.drills.faults.proxy import Fault, Proxy
from evermq.drills.load import Breaks
from evermq.drills.stage import Stage
from evermq.errors import Unavailable

__all__ = ["frozen", "killed", "misbehaving"]

_LEADER_S = 60


def killed(
    engine: Engine, topic: str, *, times: int = 1, down_s: float = 1.0, pause_s: float = 3.0, replaced: bool = False
) -> Breaks:
    """SIGKILL of the node that leads the topic, started again after down_s; several times with pause_s between.

    replaced: it stays down until another node leads. Raises Unavailable where none does."""

    async def breaks(stage: Stage) -> None:
        for number in range(times):
            node = await _leader(engine, topic)
            stage.note("fault_on", f"kill -9 {node.name}")
            begun, after = time.monotonic(), ""
            await asyncio.to_thread(node.kill)
            if replaced:
                other = await _leader(engine, topic, besides=node)
                after = f", {other.name} took over after {time.monotonic() - begun:.1f} s"
            await asyncio.sleep(down_s)
            await asyncio.to_thread(node.start)
            stage.note("fault_off", f"{node.name} is back{after}")
            await asyncio.sleep(pause_s if number < times - 1 else 0)

    return breaks


def frozen(engine: Engine, topic: str, *, seconds: float = 20.0) -> Breaks:
    """SIGSTOP of the node that leads the topic for so long."""

    async def breaks(stage: Stage) -> None:
        node = await _leader(engine, topic)
        node.freeze()
        stage.note("fault_on", f"{node.name} freezes")
        await asyncio.sleep(seconds)
        node.thaw()
        stage.note("fault_off", f"{node.name} lives again")

    return breaks


def misbehaving(proxy: Proxy, fault: Fault, *, seconds: float = 8.0) -> Breaks:
    """A proxy through which the load's URL leads does this for so long."""

    async def breaks(stage: Stage) -> None:
        await proxy.set(fault)
        stage.note("fault_on", f"the proxy begins: {fault}")
        await asyncio.sleep(seconds)
        await proxy.heal()
        stage.note("fault_off", f"the proxy is healed; so far {dict(proxy.happened)}")

    return breaks


async def _leader(engine: Engine, topic: str, *, besides: Node | None = None) -> Node:
    """Right after a fault there may be none for a while."""
    end = time.monotonic() + _LEADER_S
    while True:
        try:
            node = await asyncio.to_thread(engine.leader, topic)
            if node is not besides:
                return node
            raise Unavailable(f"{node.name} was killed, and no other node leads {topic}")
        except Unavailable:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)
