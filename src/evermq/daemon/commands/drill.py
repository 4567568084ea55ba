"""evermq drill: break something on purpose, and have it judged."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from evermq.daemon.running import CHECK_FAILED, config_path, say, show, stop_on_signals
from evermq.errors import Misconfigured

if TYPE_CHECKING:
    from evermq.drills.archive import Held

__all__ = ["app"]

app = typer.Typer(
    help="Break something on purpose, have it judged, and look at earlier drills.", pretty_exceptions_enable=False
)
_Json = Annotated[bool, typer.Option("--json", help="One JSON object, nothing else.")]
_Home = Annotated[Path | None, typer.Option("--dir", help="Where drills are kept.")]


@app.command("degrade")
def degrade(
    topic: Annotated[str | None, typer.Option(help="A topic of --config: the drill is held over it.")] = None,
    engines: Annotated[str | None, typer.Option(help="Engines to start for it instead: kafka,redis,zookeeper.")] = None,
    fault: Annotated[
        str | None, typer.Option(help="kill (default), stop, freeze, cut, slow, swallow; see the guide for more.")
    ] = None,
    cycles: Annotated[int, typer.Option(min=1, max=1000, help="How often it fails and comes back.")] = 1,
    hold: Annotated[float, typer.Option(min=1, max=3600, help="Seconds for which it stays away.")] = 10,
    order: Annotated[
        bool | None,
        typer.Option(
            "--order/--no-order",
            help="Keep order per key, and drop the ladder's doubles: the default over two engines, or a topic with it.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=10, max=10_000, help="Messages a second.")] = 300,
    seed: Annotated[int, typer.Option(help="Who is killed, and when.")] = 1,
    keep: Annotated[bool, typer.Option(help="Keep the histories of a drill that passed, too.")] = False,
    json: _Json = False,
    directory: _Home = None,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Let the primary of a ladder fail as a whole under load, and come back: nothing may be lost or left behind, and
    nobody lends a hand. Exit status 1 if the verdict is not PASS."""
    if (topic is None) == (engines is None):
        raise Misconfigured("evermq drill degrade: give --topic of your configuration, or --engines to start")
    try:
        from evermq.drills.conduct import hold as hold_drill
        from evermq.drills.degrade import Plan
    except ImportError as error:
        raise Misconfigured(f"drills need more packages ({error.name}): pip install 'evermq[drill]'") from error
    plan = Plan(cycles=cycles, hold_s=hold, rate=rate, seed=seed)
    arguments: dict[str, Any] = {
        "engines": engines,
        "topic": topic,
        "config": config_path(config),
        "fault": fault,
        "order": order,
    }
    try:
        held = asyncio.run(_until_stopped(hold_drill(plan, **arguments, directory=directory, live=not json, keep=keep)))
    except asyncio.CancelledError:
        say("evermq: the drill was ended before its time; what it had broken was healed")
        sys.exit(CHECK_FAILED)
    _print(held, json)
    sys.exit(0 if held.figures["verdict"] == "PASS" else CHECK_FAILED)


async def _until_stopped(drill: Coroutine[Any, Any, Held]) -> Held:
    """SIGTERM and SIGINT end a drill, which heals first."""
    task = asyncio.ensure_future(drill)

    def stop() -> None:
        task.cancel()

    stop_on_signals(stop)
    return await task


@app.command("list")
def list_(json: _Json = False, directory: _Home = None) -> None:
    """List the drills that were held here, one a line."""
    from evermq.drills.archive import held

    for each in held(directory):
        if json:
            show(msgspec.json.encode({"id": each.id, **_head(each)}).decode())
        else:
            head = _head(each)
            what = f"{each.fault} of {', '.join(each.engines)}  flip {_s(each, 'flip_s')}  {each.kept}"
            show(f"{each.id}  {head['verdict']:7}  {what}".rstrip())


@app.command("show")
def show_(
    id: Annotated[str | None, typer.Argument(help="The id, or how it begins; the newest if left out.")] = None,
    json: _Json = False,
    directory: _Home = None,
) -> None:
    """Show a drill that was held here."""
    from evermq.drills.archive import find

    _print(find(id, directory), json)


def _head(held: Held) -> dict[str, Any]:
    return {
        "drill": held.drill,
        "began": held.began,
        "verdict": held.figures["verdict"],
        "fault": held.fault,
        "engines": held.engines,
        "order": held.order,
    }


def _print(held: Held, json: bool) -> None:
    """The figures with what they are of; on a terminal as lines."""
    from evermq.drills.goals import told

    figures = held.figures
    if json:
        said = {
            **figures,
            "id": held.id,
            **_head(held),
            "seed": held.seed,
            "versions": held.versions,
            "notes": held.notes,
        }
        show(msgspec.json.encode(said).decode())
        return
    kept = f", {held.kept}" if held.kept else ""
    show(f"{figures['verdict']}  {held.drill}, {held.fault} of {held.engines[0]}{kept}, {held.began}")
    for each in (*held.reasons, *held.notes):
        show(f"  {each}")
    show(f"  senders left after {_s(held, 'flip_s')}, were back {_s(held, 'return_s')} after the heal")
    show(
        f"  longest stall of a sender {_s(held, 'stall_max_s')}; a restarted one sent after {_s(held, 'restart_max_s')}"
    )
    if "goals" in figures:  # drills that were held before have none
        show(f"  goals: {told(figures['goals'])}")
    p99 = ", ".join(f"{phase} {ms} ms" for phase, ms in figures["send_p99_ms"].items() if ms is not None)
    show(f"  p99 of send: {p99}")
    show("  through: " + ", ".join(f"{rung} {count:,}" for rung, count in figures["through"].items()))
    counted = ("acknowledged", "handled", "lost", "stranded", "duplicates_raw", "duplicates_business", "inversions")
    show("  " + ", ".join(f"{name.replace('_', ' ')} {figures[name]:,}" for name in counted))
    show(f"  {figures['report']}")


def _s(held: Held, name: str) -> str:
    value = held.figures[name]
    return "never" if value is None else f"{value:.2f} s"
