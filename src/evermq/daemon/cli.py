"""The command `evermq`."""

from __future__ import annotations

import gc
from importlib.metadata import version
from typing import Annotated

import typer

from evermq.daemon.commands import (
    backlog,
    demo,
    dev,
    doctor,
    drill,
    read,
    send,
    simulate,
    switch,
    topics,
    verify,
    watch,
)
from evermq.daemon.running import guard, hold_standard_streams, show_tracebacks

__all__ = ["app", "main"]

_COLLECTED = (20_000, 20, 50)

app = typer.Typer(
    name="evermq",
    help="Keeps messages flowing when the message queue does not.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"evermq {version('evermq')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if debug:
        show_tracebacks()


app.command("send")(send.send)
app.command("read")(read.read)
app.add_typer(topics.app, name="topics")
app.command("backlog")(backlog.backlog)
app.command("verify")(verify.verify)
app.command("doctor")(doctor.doctor)
app.add_typer(switch.app, name="switch")
app.add_typer(dev.app, name="dev")
app.command("simulate")(simulate.simulate)
app.command("watch")(watch.watch)
app.command("demo")(demo.demo)
app.add_typer(drill.app, name="drill")


def main() -> None:
    """Run, and end with the status of the contract: 0, 1 check failed, 2 wrong use, 3 not all sent, 4 unreachable."""
    # Messages are many small objects that die young: by its own thresholds the collector would walk over them, and over
    # everything else, again and again.
    gc.set_threshold(*_COLLECTED)
    hold_standard_streams()
    guard(app)


if __name__ == "__main__":
    main()
