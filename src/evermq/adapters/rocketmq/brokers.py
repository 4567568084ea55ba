"""What the brokers of a RocketMQ keep, judged when a place is opened."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.topic import durable_of, weaknesses
from evermq.errors import Denied, Misconfigured, Unavailable
from evermq.traits import Durable

__all__ = ["judge"]

_log = logging.getLogger("evermq.rocketmq")


class _Kept(NamedTuple):
    """who: a broker. why: it keeps no more."""

    who: str
    durable: Durable
    why: str


async def judge(admin: Admin, required: Durable, where: str) -> Durable:
    """The least that a broker keeps; what cannot be seen is taken for its worst, and what is weak is warned of.

    Raises Misconfigured where it is less than required."""
    kept = await _kept(admin)
    for who, durable, why in kept:
        said = durable.name.lower()
        if durable < required:
            raise Misconfigured(
                f"rocketmq {where}: {who} keeps {said}, less than require = {required.name.lower()}: {why}"
            )
        if durable < Durable.DISK:
            _log.warning("rocketmq %s: %s keeps %s only: %s", where, who, said, why)
    return min(each.durable for each in kept)


async def _kept(admin: Admin) -> list[_Kept]:
    try:
        every = await admin.settings()
    except (Denied, Unavailable) as error:
        why = f"a setting that cannot be seen is taken for its worst: {error}: give name_servers and the right to look"
        return [_Kept("a broker, perhaps,", Durable.MEMORY, why)]
    return [_Kept(name, durable_of(settings), _wrong(settings)) for name, settings in every.items()]


def _wrong(settings: Mapping[str, str]) -> str:
    return "; ".join(f"{name} = {settings.get(name)}: make it {way}" for name, way in weaknesses(settings).items())
