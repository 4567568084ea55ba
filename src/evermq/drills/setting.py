"""Where a drill takes place: a topic of a configuration, and what may be done to what stands behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from evermq.compose.config import STANDBYS
from evermq.drills.engines.catalog import find
from evermq.drills.engines.engine import Engine
from evermq.drills.faults.outages import PROXIED, Outage, of_doors, of_engine
from evermq.drills.faults.proxy import Proxy
from evermq.drills.faults.rows import ROWS, Engines
from evermq.drills.own_topic import toml
from evermq.drills.traffic import new_run
from evermq.errors import Misconfigured

__all__ = ["NO_PROGRESS", "Setting", "engines_of", "keeps_order", "over", "running", "started"]

NO_PROGRESS = "the topic has no progress"
_QUEUES = ("kafka", "rabbitmq", "rocketmq")
_STORES = ("redis",)
_RUNGS_MAX = 3  # beside the log of the host
_SWITCHES = ("zookeeper", "etcd")
_DATABASES = ("postgresql", "mariadb")
# Lanes for several consumers; many lists, so that none grows big; where a replica may be promoted, it has what was
# acknowledged. What a dead reader of RocketMQ had is told by no backlog: its lease is as short as a proxy takes by
# default, or a drill would wait for half a minute.
_OPTIONS = {
    **dict.fromkeys(("kafka", "kafka-three", "kafka-linked"), "lanes=4"),
    "redis": "lanes=128",
    "redis-sentinel": "lanes=128&wait_replicas=1",
    "rocketmq": "lease_ms=10000",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A topic and its groups in a configuration file, the outage of its primary, and what stands behind it in words.

    effects: the database of its `progress`, if handlers are to share a transaction with it; else `unjudged` says why
    there is none. configs: of processes that have one of their own. run: what only this drill's names have. left: what
    it made and could not remove, a sentence each, once its context has ended. versions: of engines that it started.
    """

    config: Path
    topic: str
    groups: tuple[str, ...]
    outage: Outage
    engines: tuple[str, ...]
    order: bool = False
    effects: str = ""
    configs: Mapping[str, Path] = field(default_factory=dict)
    run: str = field(default_factory=new_run)
    unjudged: str = NO_PROGRESS
    left: list[str] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)


class Parts(NamedTuple):
    """The rungs in their order, what coordinates, and what keeps progress, by name."""

    rungs: list[str]
    switches: list[str]
    databases: list[str]


def engines_of(names: str) -> Parts:
    """Of `kafka,redis,zookeeper`. Raises Misconfigured."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    kinds = {name: find(name).name.partition("-")[0] for name in chosen}
    rungs = [name for wanted in (_QUEUES, _STORES) for name in chosen if kinds[name] in wanted]
    switches, databases = ([name for name in chosen if kinds[name] in kind] for kind in (_SWITCHES, _DATABASES))
    if not 1 <= len(rungs) <= _RUNGS_MAX or len(switches) > 1 or len(databases) > 1 or len(set(chosen)) < len(chosen):
        raise Misconfigured(
            f"--engines {names}: give a primary, perhaps one or two standbys, perhaps what holds the switch, and "
            "perhaps the database of progress, as kafka,redis,zookeeper,postgresql or kafka,rabbitmq,redis"
        )
    return Parts(rungs, switches, databases)


def keeps_order(names: str) -> bool:
    """Whether a ladder over engines of these names keeps order per key unless it is told: with a rung below the primary
    that is not the host's own log. Raises Misconfigured."""
    return len(engines_of(names).rungs) > 1


@asynccontextmanager
async def running(names: str) -> AsyncIterator[Engines]:
    """Engines of these names, on loopback; they end with the context. Raises Misconfigured, Missing, Unavailable."""
    parts = engines_of(names)
    async with AsyncExitStack() as stack:
        rungs, switches, databases = [[find(name)() for name in part] for part in parts]
        engines = [*rungs, *switches, *databases]
        for engine in engines:
            stack.push_async_callback(asyncio.to_thread, engine.stop)
        for engine in engines:  # one after the other: each wants the whole machine while it starts
            await asyncio.to_thread(engine.start)
        primary, *standbys = rungs
        coordinator, database = (part[0] if part else None for part in (switches, databases))
        yield Engines(primary, tuple(standbys), coordinator, tuple(chain(*parts)), database)


@asynccontextmanager
async def over(
    engines: Engines,
    fault: str,
    directory: Path,
    *,
    topic: str = "orders",
    groups: Sequence[str] = ("billing",),
    switch: Mapping[str, int] = MappingProxyType({}),
    order: bool = False,
) -> AsyncIterator[Setting]:
    """A ladder over engines, its configuration in a directory, and a fault of its primary (see FAULTS and ROWS).

    switch: its numbers, where they are not to be the usual ones. order: keep it per key, and drop the ladder's doubles.
    """
    primary = engines.primary
    row = ROWS.get(fault)
    proxied = fault in PROXIED or bool(row and row.proxied)
    async with AsyncExitStack() as stack:
        proxies: list[Proxy] = []
        if fault in PROXIED:
            outage, proxies = await of_doors(primary.doors, fault)
        elif row:
            proxies = await row.stand(engines)
            outage = row.outage(fault, engines, proxies, topic)
        else:
            outage = of_engine(primary, fault)
        for proxy in proxies:
            stack.push_async_exit(proxy)
        at = engines.coordinator.url(f"evermq/{topic}") if engines.coordinator else f"file://{directory}/switch"
        urls = [_url(each, topic, proxied=proxied and each is primary) for each in (primary, *engines.standbys)]
        if order and len(urls) < 2:
            raise Misconfigured("--order: needs a standby beside the host's own log: give two engines")
        effects = ""
        if order:
            effects = engines.database.url() if engines.database else f"sqlite:///{directory}/progress.sqlite"
        config = _write(directory, topic, urls, groups, {"at": at, **switch}, progress=effects)
        configs = _blind(config, at, engines, topic, groups) if row and row.blind else {}
        versions = await asyncio.to_thread(engines.versions)
        yield Setting(config, topic, tuple(groups), outage, engines.names, order, effects, configs, versions=versions)


@asynccontextmanager
async def started(names: str, fault: str, directory: Path, **chosen: object) -> AsyncIterator[Setting]:
    """Both: engines that are started for this, and a ladder over them."""
    if (databases := engines_of(names).databases) and not chosen.get("order"):
        raise Misconfigured(f"--engines: {databases[0]} keeps progress, which only --order needs: give it two rungs")
    async with running(names) as engines, over(engines, fault, directory, **chosen) as setting:  # type: ignore[arg-type]
        yield setting


def _blind(config: Path, at: str, engines: Engines, topic: str, groups: Sequence[str]) -> dict[str, Path]:
    """One producer and one consumer of each group reach the coordinator through proxies."""
    assert engines.coordinator
    own = config.with_name("blind.toml")
    own.write_text(config.read_text().replace(at, engines.coordinator.url(f"evermq/{topic}", proxied=True)))
    return dict.fromkeys(["producer-0", *(f"consumer-{group}-1" for group in groups)], own)


def _url(engine: Engine, topic: str, *, proxied: bool) -> str:
    url, options = engine.url(topic, proxied=proxied), _OPTIONS.get(engine.name, "")
    return f"{url}{'&' if '?' in url else '?'}{options}" if options else url


def _write(
    directory: Path,
    topic: str,
    urls: Sequence[str],
    groups: Sequence[str],
    switch: Mapping[str, object],
    *,
    progress: str,
) -> Path:
    """progress: empty where no order is kept."""
    last = f"log://{directory}/last/{topic}"
    keys = ["primary", *STANDBYS[: len(urls) - 1], "last"] if len(urls) > 1 else ["primary", "standby"]
    lines = [f"[topics.{topic}]", 'use = "failover"', f"groups = [{', '.join(map(repr, groups))}]"]
    lines.append(f"switch = {toml(switch)}")
    if progress:
        lines += ['order = "key"', 'dedupe = "producer"', f'progress = "{progress}"']
    lines += [f'{key} = "{url}"' for key, url in zip(keys, (*urls, last), strict=True)]
    path = directory / "evermq.toml"
    path.write_text("\n".join([*lines, ""]))
    return path
