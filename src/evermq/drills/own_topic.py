"""A user's configuration, copied for a drill: the same engines and options, a topic of its own, a primary that can be
troubled."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evermq.adapters.address import parse
from evermq.compose.config import Child, TopicConfig, load
from evermq.errors import Misconfigured

__all__ = ["SUFFIX", "copy", "hosts_of", "own", "primary_of", "toml", "topic_of"]

SUFFIX = "-drill"  # of the topic, so that nobody who reads the real one is handed what a drill sends


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


def copy(name: str, config: Path, to: Path, lead: Callable[[str], str]) -> Path:
    """Write a configuration of only this topic; `lead` says where clients of each URL are to go."""
    table = tomllib.loads(config.read_text(encoding="utf-8"))["topics"][name]
    to.write_text(f"[topics.{name}{SUFFIX}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in _led(table, lead).items()))
    return to


def _led(table: dict[str, Any], lead: Callable[[str], str]) -> dict[str, Any]:
    """The same with every URL led elsewhere, where it names a topic to a topic of the drill's own."""
    return {key: _value(value, lead) for key, value in table.items()}


def _value(value: Any, lead: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return _led(value, lead)
    return lead(value) if isinstance(value, str) and "://" in value else value


def own(url: str) -> str:
    """The URL with the drill's own topic in it (of a switch: with its own path)."""
    path, mark, options = url.partition("?")
    return f"{path.rstrip('/')}{SUFFIX}{mark}{options}"


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
