"""What there is to see of a topic: its rungs, what waits in each, its switch, the last drill."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from evermq.adapters.address import parse
from evermq.adapters.open import open_place
from evermq.clock import SYSTEM
from evermq.compose.build import find
from evermq.compose.config import Child
from evermq.compose.host import dead_letters_of, host_rung, is_host_rung
from evermq.compose.switching import connect
from evermq.coordination.open import parse as parse_coordinator
from evermq.errors import Damaged, EvermqError, NoSuchTopic, Unavailable, Uncertain
from evermq.ha.agreement import Agreement, decode
from evermq.ha.votes import Vote, decode_vote
from evermq.port import TopicState

__all__ = ["MemberSeen", "RungSeen", "SwitchSeen", "TopicSeen", "Watcher"]

_LOOK_S = 3.0  # a rung that does not answer in this time is not reachable


class RungSeen(msgspec.Struct, kw_only=True):
    """A queue of the topic. rung: its configuration keys, joined by `/`, empty for a bare queue. reachable: whether it
    answered; why it did not. state: of the switch: normal, degraded, returning; empty where there is none. backlog,
    oldest_s: by group; of a host's own rung what has still to go up, by `pump`. dead: of such a rung, what was ever put
    to its dead letters. Rates are of the time since the look before, None at the first one or where the engine does not
    count: messages appended, and handled by each group."""

    rung: str
    url: str
    reachable: bool = True
    why: str = ""
    state: str = ""
    lanes: int | None = None
    backlog: dict[str, int] = {}
    oldest_s: dict[str, float | None] = {}
    dead: int | None = None
    appended: int | None = None
    appended_per_s: float | None = None
    handled_per_s: dict[str, float | None] = {}


class MemberSeen(msgspec.Struct, kw_only=True):
    """A process that votes. figures: what order and dedupe did there, at most some ten seconds ago."""

    host: str
    figures: dict[str, int] = {}


class SwitchSeen(msgspec.Struct, kw_only=True):
    """What is agreed of a ladder. since: of the last change, None before the first. reachable: else it is what was said
    last. pin: by hand. processes: that take part, members: what each of them says. lanes: that are diverted, each with
    the number of processes that do so. failing: rungs below the primary that failed when they were tried last, and what
    processes say of each."""

    at: str
    reachable: bool
    state: str
    epoch: int
    since: str | None
    by: str
    why: str
    pin: str
    processes: int | None
    rungs: dict[str, str]
    lanes: dict[str, int] = {}
    failing: dict[str, list[str]] = {}
    members: dict[str, MemberSeen] = {}


class TopicSeen(msgspec.Struct, kw_only=True):
    """One look. drill: the last that was held here over such a topic or any, None if none was."""

    topic: str
    at: str
    rungs: list[RungSeen]
    switch: SwitchSeen | None
    drill: dict[str, Any] | None


class Watcher:
    """Looks again and again. target: a URL, or a topic of `config`."""

    def __init__(self, target: str, config: Path | None) -> None:
        self.target = target
        self._root = Child(url=target) if "://" in target else find(target, config).root
        self._before: dict[str, tuple[float, RungSeen]] = {}

    async def look(self) -> TopicSeen:
        """What is there now; what does not answer is said to be so, and is no error."""
        switch = await _switch(self._root)
        states = switch.rungs if switch else {}
        found = await asyncio.gather(*(self._rung(rung, child, states) for rung, child in _bare(self._root)))
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return TopicSeen(topic=self.target, at=at, rungs=list(found), switch=switch, drill=_drill())

    async def _rung(self, rung: str, child: Child, states: Mapping[str, str]) -> RungSeen:
        is_host = rung.endswith(_HOST)
        rung = rung.removesuffix(_HOST)
        shown = str(parse(child.url))
        seen = RungSeen(rung=rung, url=shown, state=states.get(rung.partition("/")[0], ""))
        try:
            async with asyncio.timeout(_LOOK_S):
                await _fill_host(seen, child.url) if is_host else _fill(seen, await _state(child.url))
        except (EvermqError, TimeoutError) as error:
            seen.reachable, seen.why = False, str(error) or f"no answer within {_LOOK_S:.0f} s"
        self._rate(seen)
        return seen

    def _rate(self, seen: RungSeen) -> None:
        now = asyncio.get_running_loop().time()
        then, before = self._before.get(seen.rung, (now, seen))
        if seen.reachable:
            self._before[seen.rung] = (now, seen)
        if not seen.reachable or seen.appended is None or before.appended is None or now <= then:
            return
        grown = seen.appended - before.appended
        seen.appended_per_s = round(grown / (now - then), 1)
        seen.handled_per_s = {
            group: round((grown + before.backlog[group] - left) / (now - then), 1)
            for group, left in seen.backlog.items()
            if group in before.backlog
        }


_HOST = " (host)"


def _bare(child: Child, rung: str = "") -> list[tuple[str, Child]]:
    """The queues below a child that no other queues stand behind, by their rungs."""
    if child.url:
        return [(rung, child)]
    found = []
    for key, each in child.children.items():
        below = "/".join(part for part in (rung, "" if child.use == "queue" else key) if part)
        found += _bare(each, below + _HOST if is_host_rung(key, child, each) else below)
    return found


async def _state(url: str) -> TopicState:
    address = parse(url)
    query = f"?{url.partition('?')[2]}" if "?" in url else ""
    place = await open_place(f"{address.scheme}://{address.place}{query}", existing=True)
    try:
        return await place.describe(address.topic)
    finally:
        await place.close()


async def _fill_host(seen: RungSeen, url: str) -> None:
    rung = host_rung(url)
    try:
        seen.backlog = {"pump": await rung.backlog("pump")}
    finally:
        await rung.close()
    try:
        seen.dead = (await _state(dead_letters_of(url))).appended
    except NoSuchTopic:
        seen.dead = 0  # nothing was ever put there


def _fill(seen: RungSeen, state: TopicState) -> None:
    seen.lanes, seen.appended = state.lanes, state.appended
    seen.backlog = {name: group.backlog for name, group in sorted(state.groups.items())}
    seen.oldest_s = {
        name: None if group.oldest_ms is None else group.oldest_ms / 1000 for name, group in state.groups.items()
    }


async def _switch(root: Child) -> SwitchSeen | None:
    """Of the topic's own ladder."""
    if not root.switch.at:
        return None
    try:
        coordinator = await connect(root.switch)
    except EvermqError as error:
        return _said(root, Agreement(), False, None, str(error))
    try:
        async with asyncio.timeout(_LOOK_S):
            stored, members = await coordinator.get(), await coordinator.members()
        seen = _said(root, _decoded(stored.value), True, len(members))
        _fill_members(seen, _decoded(stored.value), members)
        return seen
    except (Unavailable, Uncertain, TimeoutError) as error:
        kept = coordinator.kept()
        return _said(root, _decoded(kept.value if kept else b""), False, None, str(error))
    finally:
        await coordinator.close()


def _fill_members(seen: SwitchSeen, agreed: Agreement, members: Mapping[str, bytes]) -> None:
    votes = {name: vote for name, value in sorted(members.items()) if (vote := _vote(value))}
    seen.members = {name: MemberSeen(host=vote.host, figures=dict(vote.figures)) for name, vote in votes.items()}
    for rung in dict.fromkeys(rung for vote in votes.values() for rung in vote.troubles):
        seen.failing[rung] = [vote.troubles[rung] for vote in votes.values() if rung in vote.troubles]
    diverted = {scope for vote in votes.values() for scope in vote.away} | agreed.away.keys()
    seen.lanes = {
        scope: len(votes) if agreed.away.get(scope) else sum(bool(vote.away.get(scope)) for vote in votes.values())
        for scope in sorted(diverted)
        if "/" in scope
    }


def _vote(value: bytes) -> Vote | None:
    try:
        return decode_vote(value)
    except Damaged:
        return None  # of a member of another version, or a forged one


def _decoded(value: bytes) -> Agreement:
    try:
        return decode(value, SYSTEM.now_ms())
    except Damaged:
        return Agreement()  # as every process takes a forged one: it is refused


def _said(root: Child, agreed: Agreement, reachable: bool, processes: int | None, why: str = "") -> SwitchSeen:
    rungs = {rung: agreed.away[rung].name.lower() if agreed.away.get(rung) else "normal" for rung in root.children}
    since = datetime.fromtimestamp(agreed.at_ms / 1000, UTC).isoformat(timespec="seconds") if agreed.epoch else None
    return SwitchSeen(
        at=str(parse_coordinator(root.switch.at)),
        reachable=reachable,
        state=rungs["primary"],
        epoch=agreed.epoch,
        since=since,
        by=agreed.by,
        why=agreed.why if reachable else why,
        pin=agreed.pin.rung if agreed.pin else "",
        processes=processes,
        rungs=rungs,
    )


def _drill() -> dict[str, Any] | None:
    from evermq.drills.archive import held

    found = held()
    if not found:
        return None
    last = found[-1]
    return {"id": last.id, "drill": last.drill, "began": last.began, "fault": last.fault, **_short(last.figures)}


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figures[name] for name in ("verdict", "flip_s", "return_s", "lost")}
