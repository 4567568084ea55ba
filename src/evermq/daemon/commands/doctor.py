"""evermq doctor: what an acknowledgement of an engine survives as it is set up, and what to change."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from evermq.adapters.address import Address, parse
from evermq.daemon.running import CHECK_FAILED, is_terminal, run
from evermq.errors import Misconfigured
from evermq.traits import Durable

__all__ = ["doctor"]

_SURVIVES = {
    Durable.MEMORY: "no loss at all, not even of this process",
    Durable.PROCESS: "the end of the process, not the loss of power",
    Durable.DISK: "the loss of power, not of the disk",
    Durable.REPLICATED: "the loss of a node",
    Durable.CENTRE: "the loss of a centre",
}


def doctor(
    url: Annotated[str, typer.Argument(help="A queue URL; the topic need not exist, and may be left out before a /.")],
    require: Annotated[
        str,
        typer.Option(
            help="The class that it must reach: memory, process, disk, …  [default: that of the URL, or disk]"
        ),
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Connect, and say which loss an acknowledgement survives; exit status 1 if that is less than --require."""
    address = _address(url)
    names = {each.name.lower(): each for each in Durable}
    demanded = [each for each in (require, address.options.get("require", "").lower()) if each] or ["disk"]
    for each in demanded:
        if each not in names:
            raise Misconfigured(f"require {each}: give one of {', '.join(names)}")
    run(_doctor(url, max(names[each] for each in demanded), json or not is_terminal()))


async def _doctor(url: str, require: Durable, json: bool) -> int:
    from evermq.adapters.open import inspect

    durable, findings = await inspect(url)
    shown = str(_address(url))
    if json:
        found = {"url": shown, "durable": durable.name.lower(), "findings": [each._asdict() for each in findings]}
        print(msgspec.json.encode(found).decode())
    else:
        print(f"{shown}: {durable.name.lower()}: an acknowledgement survives {_SURVIVES[durable]}")
        width = max((len(each.setting) for each in findings), default=0)
        for setting, value, advice in findings:
            print(f"  {'!' if advice else ' '} {setting:{width}}  {value}" + (f"  ({advice})" if advice else ""))
        if durable < require:
            print(f"  less than {require.name.lower()}, which is required")
    return 0 if durable >= require else CHECK_FAILED


def _address(url: str) -> Address:
    """Without its options, which may name secrets."""
    return parse(url, topic_needed=not url.partition("?")[0].endswith("/"))
