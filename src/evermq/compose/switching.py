"""The switch of a ladder, from its configuration."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from evermq.adapters.address import parse as parse_queue
from evermq.adapters.secret import secret
from evermq.clock import SYSTEM
from evermq.compose.probes import probe_of
from evermq.coordination.open import open as open_coordinator
from evermq.coordination.open import parse
from evermq.coordination.remembered import Remembered
from evermq.errors import Damaged, EvermqError, Misconfigured, Unavailable, Uncertain
from evermq.ha.agreement import decode
from evermq.ha.breaker import Pace
from evermq.ha.health import Limits
from evermq.ha.host_rung import HostRung
from evermq.ha.quorum import Quorum
from evermq.ha.switch import Settings, Switch
from evermq.port import Queue

__all__ = ["SwitchConfig", "connect", "read_switch", "start_switch"]

_PARTS: tuple[type, ...] = (Limits, Pace, Settings)
_NUMBERS = {field.name: part for part in _PARTS for field in fields(part) if field.type == "int"}
_BACKLOG_S_MAX = 3
_HERE = ("log", "memory")
_MAY_BE_0 = {"trickle", "little", "returning_ms", "dwell_ms", "good_ms", "span_ms"}


@dataclass(frozen=True, slots=True)
class SwitchConfig:
    """at: the URL of a coordinator, empty: each process for itself. host: one voter; this machine's name if empty.
    groups: those of the topic, whose backlogs a return waits for."""

    at: str = ""
    host: str = ""
    numbers: Mapping[str, int] | None = None
    groups: tuple[str, ...] = ()

    def settings(self, slow_ms: int) -> Settings:
        """slow_ms: the budget of an attempt, where none is given."""
        given = {"slow_ms": slow_ms, "trickle": Settings().trickle if self.at else 0, **(self.numbers or {})}
        limits, pace, rest = ({k: v for k, v in given.items() if _NUMBERS[k] is part} for part in _PARTS)
        return Settings(limits=Limits(**limits), pace=Pace(**pace), **rest)


def read_switch(value: object, at: str) -> SwitchConfig:
    """From a URL, or a table with `at`, `host` and numbers. Raises Misconfigured."""
    table: dict[str, Any] = {"at": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
    if not table or table.get("at") == "":
        raise Misconfigured(f'{at}: switch must be a URL, as switch = "file:///var/lib/evermq/switch", or a table')
    known = ["at", "host", *_NUMBERS]
    for key, each in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise Misconfigured(f"{at}: switch: key {key!r} is not known: {hint}")
        _check(key, each, at)
    if table.get("at"):
        parse(table["at"])
    numbers = {key: each for key, each in table.items() if key in _NUMBERS}
    return SwitchConfig(table.get("at", ""), table.get("host", ""), numbers)


def _check(key: str, value: object, at: str) -> None:
    if key not in _NUMBERS:
        if not isinstance(value, str):
            raise Misconfigured(f"{at}: switch: {key} must be a text in quotes")
        return
    least = 0 if key in _MAY_BE_0 else 1
    if type(value) is not int or value < least:
        raise Misconfigured(f"{at}: switch: {key} must be a whole number from {least} on")


async def connect(config: SwitchConfig) -> Remembered:
    """The coordinator. Raises Denied where this process has not the rights; one that is away is no error."""
    coordinator = await open_coordinator(config.at, secret=secret, fits=_fits)
    try:
        await coordinator.get()
    except (Unavailable, Uncertain):
        pass  # what it said last is known, and it will be heard again
    except BaseException:
        await coordinator.close()
        raise
    return coordinator


def _fits(value: bytes) -> bool:
    """Whether it is an agreement."""
    try:
        decode(value, SYSTEM.now_ms())
    except Damaged:
        return False
    return bool(value)


async def start_switch(
    config: SwitchConfig, rungs: Mapping[str, Queue], urls: Mapping[str, str], *, slow_ms: int
) -> Switch:
    """A switch over the rungs that follows, votes, counts and probes; it ends when it is closed.

    urls: of the rungs that are one queue each. What is on this machine needs no probe and is never cold."""
    primary, *below = rungs
    there = {rung: address for rung, url in urls.items() if (address := parse_queue(url)).engine not in _HERE}
    switch = Switch(
        list(rungs), lanes=lambda: rungs[primary].traits.lanes, warm=list(there), settings=config.settings(slow_ms)
    )
    coordinator = await connect(config) if config.at else None
    host = config.host or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9_-]", "-", host)[:100] + f".{os.getpid()}.{SYSTEM.token()}"
    probes = {rung: probe_of(urls[rung], address) for rung, address in there.items()}
    waits_for = {rung: rungs[rung] for rung in below if not isinstance(rungs[rung], HostRung)}
    backlogs = partial(_backlogs, waits_for, config.groups) if config.groups and waits_for else None
    await Quorum(switch, coordinator, host=host, name=name, probes=probes, backlogs=backlogs).start()
    return switch


async def _backlogs(queues: Mapping[str, Queue], groups: Sequence[str]) -> dict[str, dict[str, int]]:
    """What each group has left, by rung; of those that tell it in time."""
    found = await asyncio.gather(*(_backlog(queue, groups) for queue in queues.values()))
    return {rung: told for rung, told in zip(queues, found, strict=True) if told is not None}


async def _backlog(queue: Queue, groups: Sequence[str]) -> dict[str, int] | None:
    try:
        async with asyncio.timeout(_BACKLOG_S_MAX):
            return {group: await queue.backlog(group) for group in groups}
    except (EvermqError, TimeoutError):
        return None
