"""What may stand behind `?` in the URL of a Redis."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from evermq.errors import Misconfigured
from evermq.traits import Durable

__all__ = ["RedisOptions"]

_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_SMALLEST = {
    "lanes": 1,
    "lease_ms": 100,
    "timeout_ms": 50,
    "entry_bytes": 1_024,
    "message_bytes_max": 1_024,
    "lane_count_max": 1,
    "wait_replicas": 0,
    "wait_ms": 1,
    "db": 0,
}
_LARGEST = {"lanes": 16_384, "message_bytes_max": 256 << 20, "entry_bytes": 1 << 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """lanes: of a topic that is made, 128 if None; of one that exists, it has to be the count that it has.

    create: yes makes topics and groups at first use; without it they are made by `evermq topics create`.
    lease_ms: a reader that is silent for so long loses its lanes. timeout_ms: longest wait for an answer.
    entry_bytes: messages of one lane and batch go into one value up to so many bytes. message_bytes_max: body, key and
    headers together. lane_count_max: a lane that keeps so many messages takes no batch, append raises Overloaded.
    wait_replicas, wait_ms: an append counts when so many replicas confirmed it in time, else it is Uncertain.
    require: refuse a server that keeps less than this class. username, password, sentinel_password: references,
    env:NAME or file:PATH. ca, cert, key: PEM files. cluster: yes for a Redis Cluster. sentinel: name of the master, the
    hosts are Sentinels then. db: number of the database.
    """

    lanes: int | None = None
    create: bool = False
    lease_ms: int = 10_000
    timeout_ms: int = 5_000
    entry_bytes: int = 64 << 10
    message_bytes_max: int = 1 << 20
    lane_count_max: int = 100_000
    wait_replicas: int = 0
    wait_ms: int = 1_000
    require: str = ""
    username: str = ""
    password: str = ""
    sentinel_password: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    cluster: bool = False
    sentinel: str = ""
    db: int = 0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> RedisOptions:
        """From text. Raises Misconfigured."""
        kinds = {each.name: str(each.type) for each in fields(cls)}
        made = cls(**{name: _value(name, kinds, text) for name, text in given.items()})  # type: ignore[arg-type]
        if made.cluster and (made.sentinel or made.db):
            raise Misconfigured("cluster = yes: a cluster has neither Sentinels nor numbered databases")
        return made

    @property
    def required(self) -> Durable:
        """The class that `require` names."""
        return Durable[self.require.upper()] if self.require else Durable.MEMORY


def _value(name: str, kinds: Mapping[str, str], text: str) -> int | bool | str:
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(kinds)}"
        raise Misconfigured(f"option {name} of a redis URL: {hint}")
    if kinds[name].startswith("int"):
        return _number(name, text)
    if kinds[name] == "bool":
        if text.lower() not in _YES:
            raise Misconfigured(f"{name} = {text!r}: give yes or no")
        return _YES[text.lower()]
    if name == "require" and text.upper() not in Durable.__members__:
        raise Misconfigured(f"require = {text!r}: give one of {', '.join(each.name.lower() for each in Durable)}")
    return text


def _number(name: str, text: str) -> int:
    least, most = _SMALLEST[name], _LARGEST.get(name)
    if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
        limit = f"from {least} on" if most is None else f"from {least} to {most}"
        raise Misconfigured(f"{name} = {text!r}: give a whole number {limit}")
    return int(text)
