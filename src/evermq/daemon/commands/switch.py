"""evermq switch: where a ladder's appends begin, and choosing it by hand."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from evermq.clock import SYSTEM
from evermq.compose.build import find
from evermq.compose.config import Child
from evermq.compose.switching import connect
from evermq.coordination.open import parse
from evermq.coordinator import Coordinator, Versioned
from evermq.daemon.running import UNREACHABLE, config_path, is_terminal, run, say, show
from evermq.errors import Damaged, Misconfigured, Unavailable, Uncertain
from evermq.ha.agreement import Agreement, decode
from evermq.ha.override import pin, release
from evermq.ha.votes import Vote, decode_vote

__all__ = ["app"]

app = typer.Typer(help="Show a topic's switch, or choose its rung by hand.", pretty_exceptions_enable=False)
_Topic = Annotated[str, typer.Argument(help="A topic of --config with a switch.")]
_Config = Annotated[Path | None, typer.Option(help="The configuration file.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
_Why = Annotated[str, typer.Option(help="The reason; it is kept.")]
_Who = Annotated[str, typer.Option(help="Who does it; this user of this machine if it is not given.")]


@app.command("show")
def show_(topic: _Topic, json: _Json = False, config: _Config = None) -> None:
    """Show what is agreed, since when and why, and how each process finds it; exit status 4 if nobody can be asked."""
    run(_show(topic, json or not is_terminal(), config_path(config)))


@app.command("pin")
def pin_(
    topic: _Topic,
    rung: Annotated[str, typer.Argument(help="The rung, by its key: primary, standby, standby2, last.")],
    why: _Why,
    who: _Who = "",
    json: _Json = False,
    config: _Config = None,
) -> None:
    """Let every process begin at a rung, whatever they find, until it is released."""
    run(_pin(topic, rung, why, who, json or not is_terminal(), config_path(config)))


@app.command("release")
def release_(topic: _Topic, why: _Why = "", who: _Who = "", json: _Json = False, config: _Config = None) -> None:
    """Let the processes decide again."""
    run(_release(topic, why, who, json or not is_terminal(), config_path(config)))


async def _show(topic: str, json: bool, config: Path | None) -> int:
    ladder = _ladder(topic, config)
    coordinator = await connect(ladder.switch)
    try:
        stored, members = await coordinator.get(), await coordinator.members()
    except (Unavailable, Uncertain) as error:
        say(f"evermq: {error}: this is what it said last")
        _print(topic, ladder, _known(coordinator.kept() or Versioned(b"", 0)), {}, json)
        return UNREACHABLE
    finally:
        await coordinator.close()
    _print(topic, ladder, _known(stored), _votes(members), json)
    return 0


async def _pin(topic: str, rung: str, why: str, who: str, json: bool, config: Path | None) -> int:
    ladder = _ladder(topic, config)
    if rung not in ladder.children:
        raise Misconfigured(f"{topic} has no rung {rung!r}: it has {', '.join(ladder.children)}")
    return await _change(topic, ladder, json, lambda coordinator: pin(coordinator, rung, who=who or _me(), why=why))


async def _release(topic: str, why: str, who: str, json: bool, config: Path | None) -> int:
    ladder = _ladder(topic, config)
    return await _change(topic, ladder, json, lambda coordinator: release(coordinator, who=who or _me(), why=why))


async def _change(topic: str, ladder: Child, json: bool, act: Callable[[Coordinator], Awaitable[Agreement]]) -> int:
    coordinator = await connect(ladder.switch)
    try:
        agreed = await act(coordinator)
        votes = _votes(await coordinator.members())
    finally:
        await coordinator.close()
    _print(topic, ladder, agreed, votes, json)
    return 0


def _ladder(topic: str, config: Path | None) -> Child:
    """The failover whose switch is meant: the topic's own, or the first below it."""
    waiting = [find(topic, config).root]
    while waiting:
        child = waiting.pop(0)
        if child.switch.at:
            return child
        waiting += child.children.values()
    raise Misconfigured(f'{topic} has no switch that is shared: give its failover switch = "file:///directory"')


def _known(stored: Versioned) -> Agreement:
    try:
        return decode(stored.value, SYSTEM.now_ms())
    except Damaged as error:
        say(f"evermq: version {stored.version} of the switch is refused by everybody: {error}")
        return Agreement()


def _votes(members: Mapping[str, bytes]) -> dict[str, Vote]:
    found = {}
    for name, value in members.items():
        try:
            found[name] = decode_vote(value)
        except Damaged as error:
            say(f"evermq: {name} has no vote: {error}")
    return found


def _print(topic: str, ladder: Child, agreed: Agreement, votes: dict[str, Vote], json: bool) -> None:
    content = _content(topic, ladder, agreed, votes)
    if json:
        show(msgspec.json.encode(content).decode())
        return
    changed = datetime.fromtimestamp(agreed.at_ms / 1000, UTC).isoformat(" ", "seconds")
    show(f"{topic}  {content['state']}  epoch {agreed.epoch}" + (f"  since {changed}" if agreed.epoch else ""))
    if agreed.why:
        show(f"  {agreed.by}: {agreed.why}")
    for scope, state in (content["rungs"] | content["lanes"]).items():
        show(f"  {scope}  {state}")
    if agreed.pin:
        show(f"  pinned to {agreed.pin.rung} by {agreed.pin.who}: {agreed.pin.why}")
    for process in content["processes"]:
        finds = ", ".join(f"{scope} {state}" for scope, state in process["away"].items())
        sees = finds or ", ".join(process["seen"]) or "has tried nothing lately"
        show(f"  {process['name']} on {process['host']}, epoch {process['epoch']}: {sees}")


def _content(topic: str, ladder: Child, agreed: Agreement, votes: dict[str, Vote]) -> dict[str, Any]:
    away = {scope: state.name.lower() for scope, state in agreed.away.items()}
    rungs = {rung: away.get(rung, "normal") for rung in ladder.children}
    return {
        "topic": topic,
        "at": str(parse(ladder.switch.at)),
        "state": next(iter(rungs.values())),
        "epoch": agreed.epoch,
        "rungs": rungs,
        "lanes": {scope: state for scope, state in away.items() if "/" in scope},
        "pin": agreed.pin and asdict(agreed.pin),
        "by": agreed.by,
        "why": agreed.why,
        "at_ms": agreed.at_ms,
        "processes": [
            {
                "name": name,
                "host": vote.host,
                "epoch": vote.epoch,
                "seen": sorted(vote.seen),
                "away": {scope: state.name.lower() for scope, state in vote.away.items()},
            }
            for name, vote in sorted(votes.items())
        ],
    }


def _me() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
