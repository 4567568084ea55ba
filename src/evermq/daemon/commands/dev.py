"""evermq dev: real servers on this machine, for development and tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from evermq.daemon.running import is_terminal, say
from evermq.errors import Misconfigured, Unavailable

__all__ = ["app"]

app = typer.Typer(
    help="Start and end real servers on loopback ports: evermq dev up kafka redis.", pretty_exceptions_enable=False
)
_Names = Annotated[list[str] | None, typer.Argument(help="Engines, as kafka, kafka-three, redis; see `dev list`.")]
_Home = Annotated[Path | None, typer.Option("--dir", help="Where their data, logs and pids are.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def _home(given: Path | None) -> Path:
    from evermq.drills.engines.lasting import dev_home

    return (given or dev_home()).absolute()


@app.command("list")
def list_(json: _Json = False) -> None:
    """List the engines and topologies that can be started."""
    from evermq.drills.engines.catalog import CATALOG

    for name, engine in CATALOG.items():
        about = (engine.__doc__ or "").partition("\n")[0]
        _show({"engine": name, "about": about}, f"{name:18}  {about}", json)


@app.command("up")
def up(names: _Names = None, directory: _Home = None, json: _Json = False) -> None:
    """Start servers, installing what is missing, and return when they answer; they go on until `dev down`."""
    from evermq.drills.engines.catalog import find
    from evermq.drills.engines.lasting import Lasting

    if not names:
        raise Misconfigured("say which: evermq dev up kafka redis (evermq dev list shows all)")
    for name in names:
        find(name)
    for name in names:
        begun = time.monotonic()
        started = Lasting.up(name, _home(directory))
        _show(msgspec.to_builtins(started), f"{started.engine}  {started.url}", json)
        say(f"{name} answers after {time.monotonic() - begun:.1f} s")


@app.command("down")
def down(names: _Names = None, directory: _Home = None, json: _Json = False) -> None:
    """End servers that `dev up` started (all, without a name), and remove their data."""
    from evermq.drills.engines.lasting import running

    for each in running(_home(directory), names):
        each.down(_home(directory))
        _show(msgspec.to_builtins(each), f"{each.engine} has ended", json)


@app.command("status")
def status(names: _Names = None, directory: _Home = None, json: _Json = False) -> None:
    """Show what runs; exit status 1 if a process of it does not."""
    from evermq.drills.engines.lasting import running

    home = _home(directory)
    found = running(home, names)
    for each in found:
        whole = each.is_whole(home)
        text = (
            f"{each.engine}  {each.url}  {'' if whole else 'a process of it has ended: evermq dev up starts it again'}"
        )
        _show({**msgspec.to_builtins(each), "running": whole}, text.rstrip(), json)
    if not all(each.is_whole(home) for each in found):
        raise typer.Exit(1)


@app.command("install")
def install(names: _Names = None) -> None:
    """Bring servers onto this machine without starting them: packages of Debian, jars of Maven Central."""
    from evermq.drills.engines.catalog import CATALOG, find
    from evermq.drills.engines.engine import Missing

    missing = []
    for engine in dict.fromkeys(find(name) for name in names or CATALOG):
        try:
            engine.install()
        except Missing as error:
            missing.append(f"{engine.name}: {error}")
    if missing:
        raise Unavailable("; ".join(missing))


def _show(content: object, text: str, json: bool) -> None:
    print(msgspec.json.encode(content).decode() if json or not is_terminal() else text, flush=True)
