"""A user's configuration, copied for a drill: the same engines and options, names of its own, a primary that can be
troubled.

Topics, groups and switches of a drill have names that no other drill has. So nobody who reads the real topic is handed
what a drill sends, two drills do not meet, and what begins so may be removed. Groups as well: Kafka and RocketMQ have
one group of a name for all topics, and a drill in it would take lanes from the user's own readers.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evermq.adapters.address import parse
from evermq.compose.config import Child, TopicConfig, load
from evermq.errors import Misconfigured

__all__ = ["copy", "groups_of", "hosts_of", "own", "own_url", "primary_of", "toml", "topic_of"]

_SWITCHES = ("file", "zookeeper", "etcd")


def topic_of(name: str, config: Path) -> TopicConfig:
    """The configuration of a ladder. Raises Misconfigured."""
    topics = load(config)
    if name not in topics:
        raise Misconfigured(f"{config} has no topic {name!r}; it has {', '.join(topics) or 'none'}")
    topic = topics[name]
    if topic.root.use != "failover":
        used = topic.root.use or "a bare queue"
        raise Misconfigured(
            f'{config}: topic {name} has nowhere to go: a drill degrade needs use = "failover", not {used}'
        )
    return topic


def primary_of(root: Child) -> str:
    """The URL of the queue at the top."""
    child = root.children["primary"]
    while not child.url:
        child = next(iter(child.children.values()))
    return child.url


def own(name: str, run: str) -> str:
    """What a topic or group is called in the drill of a run."""
    return f"{name}-drill-{run}"


def groups_of(topic: TopicConfig, run: str) -> tuple[str, ...]:
    """The groups that read in the drill."""
    return tuple(own(group, run) for group in topic.groups or ("readers",))


def copy(name: str, config: Path, to: Path, run: str, lead: Callable[[str], str] = lambda url: url) -> Path:
    """Write a configuration of only this topic, for the drill of a run. lead: says where clients of each URL are to go.

    `progress` stays what it is, so that the drill has the database that the topic has: the topic tells them apart."""
    table = tomllib.loads(config.read_text(encoding="utf-8"))["topics"][name]
    copied = _led(table, lambda url: own_url(lead(url), run))
    if "progress" in table:
        copied["progress"] = table["progress"]
    if "groups" in table:
        copied["groups"] = [own(group, run) for group in table["groups"]]
    lines = [f"[topics.{own(name, run)}]", *(f"{key} = {toml(value)}" for key, value in copied.items())]
    to.touch(mode=0o600)  # URLs of databases have passwords in them
    to.write_text("\n".join([*lines, ""]))
    return to


def _led(table: dict[str, Any], lead: Callable[[str], str]) -> dict[str, Any]:
    """The same with every URL led elsewhere, where it names a topic to a topic of the drill's own."""
    return {key: _value(value, lead) for key, value in table.items()}


def _value(value: Any, lead: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return _led(value, lead)
    return lead(value) if isinstance(value, str) and "://" in value else value


def own_url(url: str, run: str) -> str:
    """The URL with the drill's own topic in it; of a switch with its own path, and kept in no file of the user's."""
    path, _, query = url.partition("?")
    options = query.split("&") if query else []
    if path.partition("://")[0] in _SWITCHES:
        options = [each for each in options if not each.startswith("remember=")]
    return own(path.rstrip("/"), run) + (f"?{'&'.join(options)}" if options else "")


def toml(value: Any) -> str:
    """As TOML; a JSON string is a TOML string."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def hosts_of(url: str) -> list[tuple[str, int]]:
    """Where the engine of a URL listens; empty for what has no host."""
    address = parse(url)
    if address.scheme in ("log", "memory"):
        return []
    ports = {"kafka": 9092, "redis": 6379, "rediss": 6379, "rabbitmq": 5672, "rabbitmqs": 5671, "rocketmq": 8081}
    return [(host, port or ports[address.scheme]) for host, port in address.hosts]
