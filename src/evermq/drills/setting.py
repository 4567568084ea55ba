"""Where a drill takes place: a topic of a configuration, and what may be done to its primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from evermq.drills.engines.catalog import find
from evermq.drills.engines.engine import Engine
from evermq.drills.faults.outages import PROXIED, Outage, of_doors, of_engine
from evermq.drills.own_topic import toml
from evermq.errors import Misconfigured

__all__ = ["Setting", "engines_of", "started"]

_QUEUES = ("kafka", "rabbitmq", "rocketmq")
_STORES = ("redis",)
_SWITCHES = ("zookeeper", "etcd")
_OPTIONS = {"redis": "?lanes=128"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A topic and its groups in a configuration file, the outage of its primary, and what stands behind it in words."""

    config: Path
    topic: str
    groups: tuple[str, ...]
    outage: Outage
    engines: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)


def engines_of(names: str) -> tuple[list[str], list[str]]:
    """The rungs in their order, and what coordinates, of `kafka,redis,zookeeper`. Raises Misconfigured."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    kinds = [find(name).name.partition("-")[0] for name in chosen]
    rungs = [
        name
        for kinds_wanted in (_QUEUES, _STORES)
        for name, kind in zip(chosen, kinds, strict=True)
        if kind in kinds_wanted
    ]
    switches = [name for name, kind in zip(chosen, kinds, strict=True) if kind in _SWITCHES]
    if not rungs or len(rungs) > 2 or len(switches) > 1 or len(set(chosen)) < len(chosen):
        raise Misconfigured(
            f"--engines {names}: give a primary, perhaps a standby, and perhaps what holds the switch, "
            "as kafka,redis,zookeeper or rabbitmq,redis"
        )
    return rungs, switches


@asynccontextmanager
async def started(
    names: str,
    fault: str,
    directory: Path,
    *,
    topic: str = "orders",
    groups: Sequence[str] = ("billing",),
    switch: Mapping[str, int] = MappingProxyType({}),
) -> AsyncIterator[Setting]:
    """Engines that are started on loopback for this, over a configuration that is written for them. switch: its
    numbers, where they are not to be the usual ones."""
    rungs, switches = engines_of(names)
    async with AsyncExitStack() as stack:
        engines = [find(name)() for name in (*rungs, *switches)]
        for engine in engines:
            stack.push_async_callback(asyncio.to_thread, engine.stop)
        await _start(engines)
        primary = engines[0]
        proxied = fault in PROXIED
        if proxied:
            outage, proxies = await of_doors(primary.doors, fault)
            for proxy in proxies:
                stack.push_async_exit(proxy)
        else:
            outage = of_engine(primary, fault)
        urls = [
            engine.url(topic, proxied=proxied and engine is primary) + _OPTIONS.get(engine.name, "")
            for engine in engines[: len(rungs)]
        ]
        at = engines[-1].url(f"evermq/{topic}") if switches else f"file://{directory}/switch"
        config = _write(directory, topic, urls, groups, {"at": at, **switch})
        yield Setting(config, topic, tuple(groups), outage, (*rungs, *switches))


async def _start(engines: Sequence[Engine]) -> None:
    """One after the other: each wants the whole machine while it starts."""
    for engine in engines:
        await asyncio.to_thread(engine.start)


def _write(
    directory: Path, topic: str, urls: Sequence[str], groups: Sequence[str], switch: Mapping[str, object]
) -> Path:
    last = f"log://{directory}/last/{topic}"
    keys = ("primary", "standby", "last") if len(urls) > 1 else ("primary", "standby")
    lines = [f"[topics.{topic}]", 'use = "failover"', f"groups = [{', '.join(map(repr, groups))}]"]
    lines.append(f"switch = {toml(switch)}")
    lines += [f'{key} = "{url}"' for key, url in zip(keys, (*urls, last), strict=True)]
    path = directory / "evermq.toml"
    path.write_text("\n".join([*lines, ""]))
    return path
