"""evermq watch: a topic's rungs, rates, backlogs and switch, as they change."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from evermq.compose.config import load
from evermq.compose.host import dead_letters_of
from evermq.daemon.running import config_path, is_terminal, run, say, show
from evermq.daemon.watching import RungSeen, SwitchSeen, TopicSeen, Watcher
from evermq.errors import Misconfigured

if TYPE_CHECKING:
    from evermq.daemon.exposition import Exposition

__all__ = ["watch"]

_WIDTH = 160  # where nobody says how wide it may be
_SUMS = (
    "held",
    "doubles",
    "flagged",
    "voids",
    "voids_sent",
    "repeated",
    "returned",
    "foreign",
    "replayed",
    "uncopied",
    "buried",
)
_COLOURS = {"normal": "green", "degraded": "red", "returning": "yellow", "": "default"}


def watch(
    target: Annotated[
        str | None, typer.Argument(help="A topic of --config, or a queue URL; the only topic if left out.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Look once: one JSON object.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve the same to Prometheus on this port of loopback.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Show the rungs of a topic, what goes in and out of each, what waits there and how long, the state of the switch
    and since when, and the verdict of the last drill."""
    path = config_path(config)
    watcher = Watcher(target or _only_topic(path), path)
    run(_once(watcher, json) if once or json else _follow(watcher, every, metrics_port))


def _only_topic(config: Path | None) -> str:
    path = config or Path("evermq.toml")
    topics = load(path)
    if len(topics) != 1:
        raise Misconfigured(f"{path} has {len(topics)} topics: say which to watch: {', '.join(topics)}")
    return next(iter(topics))


async def _once(watcher: Watcher, json: bool) -> int:
    """Two looks, so that there are rates, where a person waits for them."""
    seen = await watcher.look()
    if json:
        show(msgspec.json.encode(seen).decode())
    else:
        await asyncio.sleep(1)
        Console(width=None if is_terminal() else _WIDTH).print(_view(await watcher.look()))
    return 0


async def _follow(watcher: Watcher, every_s: float, metrics_port: int | None) -> int:
    exposition = _serve(metrics_port) if metrics_port else None
    with Live(auto_refresh=False, screen=False) as live:
        while True:
            seen = await watcher.look()
            if exposition:
                exposition.seen = seen
            if is_terminal():
                live.update(_view(seen), refresh=True)
            elif not exposition:
                show(msgspec.json.encode(seen).decode())
            await asyncio.sleep(every_s)


def _serve(port: int) -> Exposition:
    try:
        from evermq.daemon.exposition import Exposition, serve_metrics

        exposition = Exposition()
        serve_metrics(exposition, port)
    except ImportError as error:
        raise Misconfigured(f"metrics need one more package ({error.name}): pip install 'evermq[metrics]'") from error
    say(f"metrics at http://127.0.0.1:{port}/metrics")
    return exposition


def _view(seen: TopicSeen) -> Group:
    table = Table(box=None, padding=(0, 2), title=f"{seen.topic}  {seen.at[11:19]} UTC", title_justify="left")
    for head in ("rung", "state", "in/s", "group", "out/s", "backlog", "oldest", "queue"):
        table.add_column(
            head, justify="right" if head in ("in/s", "out/s", "backlog", "oldest") else "left", no_wrap=True
        )
    for rung in seen.rungs:
        _add(table, rung)
    away = [Text(f"away     {rung.why}", style="red") for rung in seen.rungs if not rung.reachable]
    dead = [Text(f"dead     {_dead(rung)}", style="red") for rung in seen.rungs if rung.dead]
    return Group(table, Text(""), *away, *dead, *_switch(seen), _drill(seen))


def _dead(rung: RungSeen) -> str:
    return f"{rung.dead:,} messages that every rung above {rung.rung} refused are in {dead_letters_of(rung.url)}"


def _add(table: Table, rung: RungSeen) -> None:
    state = Text(rung.state or "-", style=_COLOURS.get(rung.state, "default"))
    if not rung.reachable:
        table.add_row(rung.rung or "-", Text("away", style="red"), "", "", "", "", "", rung.url)
        return
    first: list[str | Text] = [rung.rung or "-", state, _number(rung.appended_per_s)]
    for group, left in rung.backlog.items() or [("-", 0)]:
        oldest = rung.oldest_s.get(group)
        out = _number(rung.handled_per_s.get(group))
        table.add_row(*first, group, out, f"{left:,}", "-" if oldest is None else f"{oldest:.1f} s", rung.url)
        first = ["", "", ""]


def _switch(seen: TopicSeen) -> list[Text]:
    switch = seen.switch
    if switch is None:
        return [Text("switch   each process for itself, or none")]
    where = switch.at + ("" if switch.reachable else " (does not answer: this is what it said last)")
    since = f" since {switch.since}" if switch.since else ""
    lines = [
        Text.assemble("switch   ", (switch.state, _COLOURS[switch.state]), f"{since}, epoch {switch.epoch}, {where}")
    ]
    if switch.why:
        lines.append(Text(f"         {switch.by + ': ' if switch.by else ''}{switch.why}"))
    if switch.pin:
        lines.append(Text(f"         pinned to {switch.pin} by hand", style="yellow"))
    for rung, why in switch.failing.items():
        who = f"{len(why)} of {len(switch.members)} processes"
        lines.append(Text(f"         {rung} fails for {who}: {why[0]}", style="red"))
    for lane, count in switch.lanes.items():
        who = f"{count} of {len(switch.members)} processes"
        lines.append(Text(f"         lane {lane} is diverted by {who}", style="yellow"))
    return lines + _order(switch)


def _order(switch: SwitchSeen) -> list[Text]:
    """What order and dedupe did in all processes that vote."""
    told = [member.figures for member in switch.members.values() if member.figures]
    if not told:
        return []
    sums = Counter[str]()
    for figures in told:
        sums.update(figures)
    oldest_s = max(figures.get("hold_ms", 0) for figures in told) / 1000
    shown = ", ".join(f"{sums[name]:,} {name.replace('_', ' ')}" for name in _SUMS)
    return [Text(f"order    holds {sums['holding']:,}, the oldest for {oldest_s:.1f} s; {shown}")]


def _drill(seen: TopicSeen) -> Text:
    drill = seen.drill
    if drill is None:
        return Text("drill    none was held here")
    style = "green" if drill["verdict"] == "PASS" else "red"
    return Text.assemble(
        "drill    ", (drill["verdict"], style), f" {drill['drill']}, {drill['fault']}, {drill['began']}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
