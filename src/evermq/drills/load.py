"""Load under fault: processes send and read, some are killed, something breaks and heals, the histories are judged."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from evermq.adapters.address import parse
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.compose.build import create, find, groups_of
from evermq.drills.stage import Stage
from evermq.drills.traffic import Load, Traffic, report
from evermq.testing.checker import Verdict

__all__ = ["Breaks", "Load", "make", "quiet_s", "run_load"]

_QUIET_S = 1.0
_REVIVED_S = 4.0  # how long a broker may take to hand out again what comes back

Breaks = Callable[[Stage], Awaitable[None]]


async def run_load(
    target: str,
    groups: Sequence[str] = ("readers",),
    *,
    fault: Breaks | None = None,
    config: Path | None = None,
    directory: Path | None = None,
    effects: str = "",
    tell: Callable[[str], None] = lambda text: None,
    load: Load | None = None,
    **settings: object,
) -> Verdict:
    """Put a load on a queue while a fault happens, and return the verdict.

    target: a queue URL, or the name of a topic in the TOML file `config`; the topic is made with its groups.
    fault(stage): breaks something, notes `fault_on` and `fault_off`, and leaves it healed. directory: for the histories
    and report.txt; a temporary one if None, which stays only if the verdict is not PASS. effects: see Traffic.
    settings: the fields of Load. Raises Misconfigured where nothing could be sent at all.
    """
    chosen = replace(load or Load(), **settings)  # type: ignore[arg-type]
    if fault and not chosen.expect.faults_min:
        chosen = replace(chosen, expect=replace(chosen.expect, faults_min=1))
    where = directory or Path(tempfile.mkdtemp(prefix="evermq-load-"))
    where.mkdir(parents=True, exist_ok=True)
    await make(target, config, groups, chosen.lanes)
    traffic = Traffic(where, target, config, groups, chosen, effects=effects, tell=tell)
    verdict = await traffic.through(lambda: _break(traffic, fault))
    (where / "report.txt").write_text(report(verdict))
    if directory is None and verdict.verdict == "PASS":
        shutil.rmtree(where)
    elif verdict.verdict != "PASS":
        verdict.reasons.append(f"see {where}")
    return verdict


async def make(target: str, config: Path | None, groups: Sequence[str], lanes: int | None = None) -> None:
    """The topic with the groups that read it, on everything behind it; what is local there is read by its pump."""
    named = tuple(groups)
    queues = [(target, named)] if "://" in target else groups_of(find(target, config).root, named)
    for url, readers in queues:
        await create([url], readers, lanes)


def quiet_s(target: str, config: Path | None, groups: Sequence[str]) -> float:
    """How long nothing may be left before that is believed: RocketMQ does not tell what waits out the lease of a reader
    that died."""
    addresses = [parse(url) for url, _ in groups_of(find(target, config).root, tuple(groups))]
    leases = [
        int(each.options.get("lease_ms", RocketOptions().lease_ms)) for each in addresses if each.engine == "rocketmq"
    ]
    return max([_QUIET_S, *[lease_ms / 1000 + _REVIVED_S for lease_ms in leases]])


async def _break(traffic: Traffic, fault: Breaks | None) -> None:
    """A producer dies at a tenth of the time, a consumer at a fifth, and at a third the fault begins."""
    end = time.monotonic() + traffic.load.seconds
    await asyncio.gather(_kill_two(traffic), _fault(traffic, fault))
    await asyncio.sleep(end - time.monotonic())


async def _kill_two(traffic: Traffic) -> None:
    for name in ("producer-0", f"consumer-{traffic.groups[0]}-0"):
        if traffic.load.kill:
            await asyncio.sleep(traffic.load.seconds / 10)
            await traffic.stage.kill_and_restart(name)


async def _fault(traffic: Traffic, fault: Breaks | None) -> None:
    if fault:
        await asyncio.sleep(traffic.load.seconds / 3)
        await fault(traffic.stage)
        await asyncio.sleep(traffic.load.seconds / 3)
