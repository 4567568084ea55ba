"""Configuration becomes queues."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from reprlib import repr as short

from evermq.adapters.address import parse
from evermq.adapters.open import open_place, open_queue
from evermq.compose.config import Child, TopicConfig, load
from evermq.compose.host import copies_of, host_rung, is_host_rung
from evermq.compose.ordering import ordered
from evermq.compose.rungs import check_strong
from evermq.compose.switching import start_switch
from evermq.errors import Misconfigured
from evermq.ha.buffered import Buffered
from evermq.ha.failover import APPEND_MS_MAX, Failover
from evermq.ha.late import Check, Open, open_all
from evermq.ha.route import Route
from evermq.ha.spooled import Spooled
from evermq.ha.together import close_all
from evermq.port import Queue
from evermq.redaction import redacted

__all__ = ["build", "create", "groups_of", "open", "place_of", "urls_of"]

DEFAULT = "evermq.toml"
_ONE_IS_ENOUGH = ("failover", "route")  # to begin with: a child that is away joins later
_PUMPED = ("spooled", "buffered")  # here the local one is enough
_PUMP = ("pump",)  # the group of Spooled and Buffered


async def open(target: str, config: str | Path | None = None, *, producer: str | None = None) -> Queue:
    """The queue of a URL, or of a topic that `config` (./evermq.toml if None) describes. Raises Misconfigured.

    producer: the name under which this process is the same producer again after a restart.
    """
    if not isinstance(target, str):
        raise Misconfigured(
            f"target = {short(target)}: give a URL as text, as log:///directory/topic, or a topic of the configuration"
        )
    if "://" in target:
        return await open_queue(target)
    return await build(find(target, config), producer=producer)


def find(topic: str, config: str | Path | None) -> TopicConfig:
    """The configuration of a topic."""
    if not isinstance(config, str | PathLike | None):
        raise Misconfigured(f"config = {short(config)}: give the path of a TOML file, or leave it out")
    path = Path(config or DEFAULT)
    if config is None and not path.exists():
        said = f"{redacted(topic)!r} is no URL"
        raise Misconfigured(f"{said}, and there is no {DEFAULT} here that describes a topic of that name")
    topics = load(path)
    if topic not in topics:
        known = ", ".join(topics) or "none"
        raise Misconfigured(f"{path} has no topic {redacted(topic)!r}; it has {known}")
    return topics[topic]


async def build(topic: TopicConfig, *, producer: str | None = None) -> Queue:
    """The queue of a topic, running. Raises Misconfigured where it cannot keep what `require` demands."""
    check = partial(check_strong, topic.name, required=topic.require)
    queue = await _open(topic.root, producer, check)
    try:
        check(queue)
        if not topic.order:
            return queue
        kept = partial(copies_of, url=topic.root.children["last"].url, bytes_max=topic.order.retained_bytes_max)
        return ordered(queue, topic.name, topic.order, groups=topic.groups, copies_of=kept)
    except BaseException:
        await queue.close()
        raise


async def _open(child: Child, producer: str | None, check: Check) -> Queue:
    if child.url:
        return await open_queue(child.url)
    hosts: dict[str, Queue] = {
        key: host_rung(each.url, producer) for key, each in child.children.items() if is_host_rung(key, child, each)
    }
    openers = {key: partial(_open, each, producer, check) for key, each in child.children.items() if key not in hosts}
    lanes = {key: _lanes_said(child.children[key].url) for key in openers}
    if child.use in _ONE_IS_ENOUGH:
        opened = await open_all(openers, beside=hosts.values(), check=check, lanes=lanes)
    elif child.use in _PUMPED:
        opened = await _open_pumped(openers, lanes, check if child.use == "buffered" else _unchecked)
    else:
        opened = {key: await opener() for key, opener in openers.items()}
    try:
        return await _compose(child, opened | hosts)
    except BaseException:
        await close_all(opened.values())
        raise


def _lanes_said(url: str) -> int:
    """How many lanes a URL says that its topic has; 1 where it does not."""
    said = parse(url).options.get("lanes", "") if url else ""
    return max(1, int(said)) if said.isdecimal() else 1


def _unchecked(queue: Queue) -> None:
    """It gives no acknowledgements."""


async def _open_pumped(openers: Mapping[str, Open], lanes: Mapping[str, int], check: Check) -> dict[str, Queue]:
    """The local queue, and what may join it later. check: of the remote one."""
    opened = {"local": await openers["local"]()}
    try:
        for key in [key for key in openers if key != "local"]:
            of = check if key == "remote" else _unchecked
            opened |= await open_all({key: openers[key]}, beside=[opened["local"]], check=of, lanes=lanes)
    except BaseException:
        await close_all(opened.values())
        raise
    return opened


async def _compose(child: Child, opened: dict[str, Queue]) -> Queue:
    if child.use == "queue":
        return opened["queue"]
    if child.use == "route":
        return Route(opened, **child.numbers)
    if child.use == "failover":
        urls = {key: each.url for key, each in child.children.items() if each.url}
        slow_ms = child.numbers.get("append_ms_max", APPEND_MS_MAX)
        switch = await start_switch(child.switch, opened, urls, slow_ms=slow_ms)
        failover = Failover(**opened, **child.numbers, choice=switch)  # type: ignore[arg-type]
        failover.start()
        return failover
    kind = Buffered if child.use == "buffered" else Spooled
    queue = kind(**opened, **child.numbers)  # type: ignore[arg-type]
    await queue.start()
    return queue


def urls_of(child: Child) -> list[str]:
    """The URLs of all bare queues below a child, the host's own rung left out, which has no topic of its own."""
    return [url for url, _ in groups_of(child, ())]


def groups_of(child: Child, groups: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """The URLs of all bare queues below a child, each with the groups that read it where `groups` read the child.

    What is local is read by the pump alone: a group that nobody reads would keep everything there for ever.
    """
    if child.url:
        return [(child.url, groups)]
    found = []
    for key, each in child.children.items():
        if is_host_rung(key, child, each):
            continue
        pumped = key == "local" and child.use in ("buffered", "spooled")
        found += groups_of(each, _PUMP if pumped else groups)
    return found


def place_of(url: str) -> str:
    """The URL of the place that a queue is in: the same without its topic, with its options, secrets among them."""
    address = parse(url)
    return f"{address.scheme}://{address.place}" + (f"?{url.partition('?')[2]}" if "?" in url else "")


async def create(urls: list[str], groups: tuple[str, ...], lanes: int | None) -> list[str]:
    """Make what is missing on every child; returns what differs."""
    differs = []
    for url in urls:
        address = parse(url)
        place = await open_place(place_of(url))
        try:
            differs += await place.create(address.topic, groups=groups, lanes=lanes)
        finally:
            if address.scheme != "memory":
                await place.close()
    return differs
