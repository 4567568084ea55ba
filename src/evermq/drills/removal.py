"""What a drill over a user's configuration made there is removed when it ends: all of it has the drill's own names."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from evermq.adapters.address import parse
from evermq.adapters.open import open_place
from evermq.compose.build import place_of, urls_of
from evermq.compose.config import Child, TopicConfig
from evermq.compose.host import hosts_of
from evermq.compose.ordering import open_progress
from evermq.compose.probes import drop_left_probes
from evermq.compose.switching import SwitchConfig, connect
from evermq.errors import Closed, EvermqError, NoSuchTopic
from evermq.port import DropsGroups

__all__ = ["remove"]

_WAIT_S = 20
_TRIES = 3
_KEEPS_GROUPS = ("rocketmq",)  # when their topic is dropped
_Step = Coroutine[Any, Any, None]


async def remove(drill: TopicConfig, groups: Sequence[str]) -> list[str]:
    """Topics with these groups, slots, agreements of switches, and progress, of the drill's own configuration. Returns
    what could not be removed and why, a sentence each."""
    left = []
    for what, step in _steps(drill, groups):
        try:
            async with asyncio.timeout(_WAIT_S):
                await step
        except (EvermqError, OSError) as error:
            left.append(f"{what} could not be removed: {str(error) or 'no answer'}; remove it by hand")
    return left


def _steps(drill: TopicConfig, groups: Sequence[str]) -> Iterator[tuple[str, _Step]]:
    for url in urls_of(drill.root):
        yield str(parse(url)), _drop_topics(url, groups)
    for url in hosts_of(drill.root):
        yield f"the slots of {parse(url)}", _drop_slots(url)
    for switch in _switches(drill.root):
        yield f"the agreement of the switch {switch.at.partition('?')[0]}", _drop_agreement(switch)
    if drill.order:
        yield f"what progress has of topic {drill.name}", _drop_progress(drill.order.progress, drill.name)


async def _drop_topics(url: str, groups: Sequence[str]) -> None:
    """As `_drop_once`; again where the process that owned a log ended meanwhile."""
    for left in reversed(range(_TRIES)):
        try:
            return await _drop_once(url, groups)
        except Closed:
            if not left:
                raise
    return None


async def _drop_once(url: str, groups: Sequence[str]) -> None:
    """The topic of a URL, with what it has beside it: dead letters, and probes of processes that were killed."""
    address = parse(url)
    place = await open_place(place_of(url))
    try:
        topics = await place.topics()
        if address.engine in _KEEPS_GROUPS and isinstance(place, DropsGroups) and address.topic in topics:
            for group in groups:
                with suppress(NoSuchTopic):  # nobody has made it
                    await place.drop_group(address.topic, group)
        for name in topics:
            if name == address.topic or name.startswith(f"{address.topic}."):
                await place.drop(name)
        if address.engine != "log":
            await drop_left_probes(place)
    finally:
        if address.scheme != "memory":
            await place.close()


async def _drop_slots(url: str) -> None:
    address = parse(url)
    directory = Path(address.place)
    for slots in [directory / "slots" / address.topic, *directory.glob(f"copies-*/{address.topic}")]:
        if slots.exists():
            await asyncio.to_thread(shutil.rmtree, slots)
    if (directory / "lock").exists():  # a log is there as well: what no rung would ever take is in it
        await _drop_topics(url, ())


async def _drop_agreement(switch: SwitchConfig) -> None:
    coordinator = await connect(switch)
    try:
        await coordinator.drop()
    finally:
        await coordinator.close()


async def _drop_progress(url: str, topic: str) -> None:
    progress = open_progress(url, topic)
    try:
        await progress.drop()
    finally:
        await progress.close()


def _switches(child: Child) -> Iterator[SwitchConfig]:
    if child.switch.at:
        yield child.switch
    for each in child.children.values():
        yield from _switches(each)
