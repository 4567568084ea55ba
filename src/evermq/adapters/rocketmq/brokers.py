"""What the brokers of a RocketMQ are and keep, judged when a place is opened."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.remoting import Distrusted
from evermq.adapters.rocketmq.topic import durable_of, hazards, weaknesses
from evermq.errors import Denied, Misconfigured, Unavailable, Unsupported
from evermq.traits import Durable

__all__ = ["Version", "judge", "versions"]

_log = logging.getLogger("evermq.rocketmq")

_MIN, _LOSSY = (5, 0), ((5, 3, 2), (5, 3, 3))


class Version(NamedTuple):
    """numbers: empty where they cannot be read."""

    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers)) or "unknown"

    @property
    def is_too_old(self) -> bool:
        return bool(self.numbers) and self.numbers < _MIN

    @property
    def advice(self) -> str:
        """What is wrong with it, empty where nothing is."""
        if self.is_too_old:
            return "RocketMQ 5.0 or later is needed"
        lossy = "slaves of this version lose typed topics (apache/rocketmq#9403): take 5.4.0 where there are replicas"
        return lossy if self.numbers in _LOSSY else ""


class _Kept(NamedTuple):
    """who: a broker. why: it keeps no more. hazard: what else is to be known of it, empty where nothing is."""

    who: str
    durable: Durable
    why: str
    hazard: str = ""


async def judge(admin: Admin, required: Durable, where: str) -> Durable:
    """The least that a broker keeps; what cannot be seen is taken for its worst, and what is weak is warned of.

    Raises Misconfigured where it is less than required, Unsupported for a broker that is too old, Denied for one whose
    certificate is not accepted."""
    kept, found = await asyncio.gather(_kept(admin), versions(admin))
    for name, version in found.items():
        if version.is_too_old:
            raise Unsupported(f"rocketmq {where}: {name} is {version}: {version.advice}")
        if version.advice:
            _log.warning("rocketmq %s: %s is %s: %s", where, name, version, version.advice)
    for who, durable, why, hazard in kept:
        said = durable.name.lower()
        if durable < required:
            raise Misconfigured(
                f"rocketmq {where}: {who} keeps {said}, less than require = {required.name.lower()}: {why}"
            )
        if durable < Durable.DISK:
            _log.warning("rocketmq %s: %s keeps %s only: %s", where, who, said, why)
        if hazard:
            _log.warning("rocketmq %s: %s: %s", where, who, hazard)
    return min(each.durable for each in kept)


async def versions(admin: Admin) -> dict[str, Version]:
    """Of every broker; of none where that may not be asked."""
    try:
        found = await admin.versions()
    except (Denied, Unavailable, Unsupported):
        return {}
    return {name: Version(tuple(map(int, re.findall(r"\d+", said)[:3]))) for name, said in found.items()}


async def _kept(admin: Admin) -> list[_Kept]:
    try:
        every = await admin.settings()
    except Distrusted:
        raise
    except (Denied, Unavailable) as error:
        return [_unseen(str(error))]
    found = [
        _Kept(name, durable_of(each), _wrong(each, weaknesses(each)), _wrong(each, hazards(each)))
        for name, each in every.items()
    ]
    return found or [_unseen("the name servers know no broker")]


def _unseen(reason: str) -> _Kept:
    why = f"a setting that cannot be seen is taken for its worst: {reason}: give name_servers and the right to look"
    return _Kept("a broker, perhaps,", Durable.MEMORY, why)


def _wrong(settings: Mapping[str, str], ways: Mapping[str, str]) -> str:
    return "; ".join(f"{name} = {settings.get(name, 'unknown')}: make it {way}" for name, way in ways.items())
