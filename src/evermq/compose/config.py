"""The configuration file: TOML that mirrors the constructors."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from os.path import abspath
from pathlib import Path
from typing import Any

from evermq.compose.ordering import OF_ORDER, OrderConfig, read_order
from evermq.compose.rungs import check_different
from evermq.compose.switching import SwitchConfig, read_switch
from evermq.coordination.open import Target
from evermq.coordination.open import parse as parse_coordinator
from evermq.errors import Misconfigured
from evermq.ha.probe import PREFIX
from evermq.topics import check_group, check_topic
from evermq.traits import Durable

__all__ = ["STANDBYS", "Child", "TopicConfig", "load", "parse"]

STANDBYS = ("standby", *(f"standby{number}" for number in range(2, 10)))
_CHILDREN: dict[str, tuple[str, ...]] = {
    "queue": ("queue",),
    "route": (),
    "failover": ("primary", *STANDBYS, "last"),
    "buffered": ("local", "remote", "dead"),
    "spooled": ("local", "remote", "dead"),
}
_NUMBERS: dict[str, tuple[str, ...]] = {
    "queue": (),
    "route": ("append_ms_max",),
    "failover": ("append_ms_max", "drain_per_s_max"),
    "buffered": ("slow_ms",),
    "spooled": (),
}
_OPTIONAL = {"last", "dead", *STANDBYS[1:]}
_OF_A_TOPIC = ("groups", "lanes", "require", *OF_ORDER)


@dataclass(frozen=True, slots=True)
class Child:
    """A queue: a URL, or a technique over children. `numbers`: its constructor's whole numbers. `switch`: of a
    failover."""

    url: str = ""
    use: str = ""
    children: dict[str, Child] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    switch: SwitchConfig = field(default_factory=SwitchConfig)


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic. require: the class that an acknowledgement must survive, None for any. order: what is promised of the
    messages of a producer, None for nothing."""

    name: str
    root: Child
    groups: tuple[str, ...] = ()
    lanes: int | None = None
    require: Durable | None = None
    order: OrderConfig | None = None


def load(path: str | Path) -> dict[str, TopicConfig]:
    """The topics of a file. Raises Misconfigured, naming file, table and key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(f"configuration {path} cannot be read: {reason}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> dict[str, TopicConfig]:
    """As `load`, from text; `where` names it in errors."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{where} is not TOML: {error}") from error
    _known(content, ("topics",), where)
    topics = _table(content.get("topics", {}), f"{where}: topics")
    found = {name: _topic(name, _table(table, f"{where}: [topics.{name}]"), where) for name, table in topics.items()}
    _check_switches(found, where)
    return found


def _check_switches(topics: Mapping[str, TopicConfig], where: str) -> None:
    """What is agreed is agreed for one ladder: a pin of one must not move another."""
    taken: dict[str, str] = {}
    for name, topic in topics.items():
        for switch in _switches(topic.root):
            file = switch.options.get("remember", "")
            other = taken.setdefault(str(switch).rstrip("/"), name)
            if other != name:
                raise Misconfigured(
                    f"{where}: [topics.{name}] has the switch of [topics.{other}], {switch}: give it its own"
                )
            other = taken.setdefault(abspath(file), name) if file else name
            if other != name:
                raise Misconfigured(
                    f"{where}: [topics.{name}] remembers what is agreed in the file of [topics.{other}], {file}: "
                    "give it its own"
                )


def _switches(child: Child) -> Iterator[Target]:
    if child.switch.at:
        yield parse_coordinator(child.switch.at)
    for each in child.children.values():
        yield from _switches(each)


def _topic(name: str, table: dict[str, Any], where: str) -> TopicConfig:
    at = f"{where}: [topics.{name}]"
    check_topic(name)
    if name.startswith(PREFIX):
        raise Misconfigured(f"{at}: topics that begin with {PREFIX} are probes': choose another name")
    own = {key: value for key, value in table.items() if key in _OF_A_TOPIC}
    rest = {key: value for key, value in table.items() if key not in _OF_A_TOPIC}
    root = _child(rest, at, extra=_OF_A_TOPIC)
    check_different(_rungs(root), at)
    groups = own.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise Misconfigured(f'{at}: groups must be a list of names, as groups = ["billing"]')
    lanes = own.get("lanes")
    if lanes is not None and (not _is_number(lanes) or lanes < 1):
        raise Misconfigured(f"{at}: lanes must be a whole number from 1 on")
    require, order = _require(own.get("require"), at), read_order(own, root.use, tuple(root.children), at)
    named = tuple(map(check_group, groups))
    root = replace(root, switch=replace(root.switch, groups=named))
    return TopicConfig(name, root, named, lanes, require, order)


def _rungs(child: Child, name: str = "") -> Iterator[tuple[str, str]]:
    """The URLs below a child, each by its keys."""
    if child.url:
        yield name, child.url
    for key, each in child.children.items():
        yield from _rungs(each, f"{name}.{key}".lstrip("."))


def _require(value: object, at: str) -> Durable | None:
    if value is None:
        return None
    names = [each.name.lower() for each in Durable]
    if value not in names:
        raise Misconfigured(f"{at}: require = {value!r}: give one of {', '.join(names)}")
    return Durable[str(value).upper()]


def _child(value: object, at: str, *, extra: tuple[str, ...] = ()) -> Child:
    if isinstance(value, str):
        if not value.strip():
            raise Misconfigured(f'{at}: the URL of a queue is empty: give one, as "log:///directory/topic"')
        return Child(url=value)
    table = _table(value, at)
    use = table.get("use", "queue")
    if not isinstance(use, str) or use not in _CHILDREN:
        near = difflib.get_close_matches(str(use), _CHILDREN, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_CHILDREN)}"
        raise Misconfigured(f"{at}: use = {use!r} is not known: {hint}")
    if use == "queue" and "queue" not in table:
        raise Misconfigured(f'{at}: the queue is missing: queue = "log:///directory/topic", or use = "failover"')
    children = _children(use, table, at, extra)
    numbers = {key: table[key] for key in _NUMBERS[use] if key in table}
    for key, number in numbers.items():
        if not _is_number(number) or number < 1:
            raise Misconfigured(f"{at}: {key} must be a whole number from 1 on")
    switch = read_switch(table["switch"], at) if "switch" in table else SwitchConfig()
    return Child(use=use, children=children, numbers=numbers, switch=switch)


def _children(use: str, table: dict[str, Any], at: str, extra: tuple[str, ...]) -> dict[str, Child]:
    if use == "route":
        _known(table, ("use", "children", *_NUMBERS[use], *extra), at)
        named = _table(table.get("children", {}), f"{at} children")
        if not named:
            raise Misconfigured(f"{at}: a route needs children: a table of name = URL")
        if wrong := [name for name in named if not name or "/" in name]:
            raise Misconfigured(f"{at}: children: {wrong[0]!r} is no name, which positions tell: give one without /")
    else:
        own = ("switch",) if use == "failover" else ()
        _known(table, ("use", *_CHILDREN[use], *_NUMBERS[use], *own, *extra), at)
        named = {key: table[key] for key in _CHILDREN[use] if key in table}
        missing = [key for key in _CHILDREN[use] if key not in named and key not in _OPTIONAL]
        if missing:
            raise Misconfigured(f"{at}: {use} needs {missing[0]} = a URL or a table")
        _check_dense([key for key in named if key in STANDBYS], at)
    return {key: _child(value, f"{at} {key}") for key, value in named.items()}


def _check_dense(standbys: list[str], at: str) -> None:
    """A gap is a key that was mistyped or left behind: the rungs below it would move up without a word."""
    for wanted, key in zip(STANDBYS, standbys, strict=False):
        if key != wanted:
            raise Misconfigured(f"{at}: {key} needs {wanted} above it, a URL or a table, or is to be called {wanted}")


def _table(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misconfigured(f"{at} must be a table (or, for a child, a URL in quotes), not {type(value).__name__}")
    return value


def _known(table: dict[str, Any], names: tuple[str, ...], at: str) -> None:
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
            raise Misconfigured(f"{at}: key {key!r} is not known: {hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
