"""The rungs of a topic: all of them different queues, and none weaker than the topic demands."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from evermq.adapters.address import Address, parse
from evermq.errors import Misconfigured
from evermq.ha.route import Route
from evermq.port import Queue
from evermq.traits import Durable

__all__ = ["check_different", "check_strong"]

_PORTS = {"kafka": 9092, "redis": 6379, "rabbitmq": 5672, "rocketmq": 8081}
_SAME_HOST = {"localhost": "127.0.0.1", "::1": "127.0.0.1"}
_OPTIONS = ("db", "sentinel")  # these say which queue it is


def check_different(urls: Iterable[tuple[str, str]], at: str) -> None:
    """urls: each with the name of its rung. Raises Misconfigured where two are the same queue.

    Every message of it would be read twice, and a rung that fails would be tried again as its own fallback. Hosts are
    compared by name: two names of one server are not seen.
    """
    for (one, url), (other, again) in combinations([(name, parse(url)) for name, url in urls], 2):
        if _is_same(url, again):
            raise Misconfigured(
                f"{at}: {one} and {other} are the same queue, {again}: nothing would be left when it is down, so give "
                f"{other} a queue of its own, or leave it out"
            )


def _is_same(one: Address, other: Address) -> bool:
    if (one.engine, one.topic) != (other.engine, other.topic):
        return False
    if one.engine not in _PORTS:
        return _place(one) == _place(other)
    if any(one.options.get(name, "") != other.options.get(name, "") for name in _OPTIONS):
        return False
    paths = {address.place.partition("/")[2] for address in (one, other)}
    return len(paths) == 1 and bool(_hosts(one) & _hosts(other))


def _place(address: Address) -> str:
    return str(Path(address.place).resolve()) if address.engine == "log" else address.place


def _hosts(address: Address) -> set[tuple[str, int]]:
    return {(_SAME_HOST.get(host, host), port or _PORTS[address.engine]) for host, port in address.hosts}


def check_strong(topic: str, queue: Queue, required: Durable | None) -> None:
    """Raises Misconfigured, naming the rungs, where an acknowledgement survives less than the topic requires."""
    if required is None or queue.traits.durable >= required:
        return
    has, wants = queue.traits.durable.name.lower(), required.name.lower()
    kept = {key: rung.traits.durable for key, rung in queue.children.items()} if isinstance(queue, Route) else {}
    weak = [f"{key} keeps {durable.name.lower()}" for key, durable in kept.items() if durable < required]
    of = f": {', '.join(weak)}" if weak else ""
    raise Misconfigured(f"topic {topic} requires {wants}, but an acknowledgement here survives only {has}{of}")
